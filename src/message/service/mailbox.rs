//! The sender and the recipients of e-mails, out of a Provider's spec.

use mail_builder::headers::address::Address;

use super::secret::DestinationError;
use crate::intent::ProviderIntent;

/// The most recipients. Mail servers take a hundred at least (RFC 5321, section 4.5.3.1.8).
const MOST_RECIPIENTS: usize = 50;

/// The longest address (RFC 5321, section 4.5.3.1.3).
const LONGEST_ADDRESS: usize = 254;

/// Who sends e-mails, and who gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailing {
    pub(super) sender: Mailbox,
    pub(super) recipients: Vec<Mailbox>,
}

/// `Name <local@domain>`, or `local@domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    name: Option<String>,
    /// `local@domain`.
    pub(super) address: String,
}

impl Mailing {
    /// The sender is `spec.username`, and the recipients are in `spec.channel`.
    pub(super) fn read(intent: &ProviderIntent) -> Result<Self, DestinationError> {
        let (sender, recipients) = ("spec.username", "spec.channel");
        let absent = |field| DestinationError::Field(field, "it is empty");
        let from = intent.username.as_deref().ok_or(absent(sender))?;
        let from =
            Mailbox::parse(from).map_err(|problem| DestinationError::Field(sender, problem))?;
        let to = intent.channel.as_deref().ok_or(absent(recipients))?;
        let to: Result<Vec<Mailbox>, _> = to.split(',').map(Mailbox::parse).collect();
        let to = to.map_err(|problem| DestinationError::Field(recipients, problem))?;
        if to.len() > MOST_RECIPIENTS {
            let problem = "it has more than 50 recipients: use the address of a list";
            return Err(DestinationError::Field(recipients, problem));
        }
        Ok(Self {
            sender: from,
            recipients: to,
        })
    }
}

impl Mailbox {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "it has something that is no address of the form local@domain";
        let text = text.trim();
        let (name, address) = match text.strip_suffix('>') {
            Some(rest) => rest.split_once('<').ok_or(WRONG)?,
            None => ("", text),
        };
        let (local, domain) = address.split_once('@').ok_or(WRONG)?;
        let is_atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        let is_address = !local.is_empty()
            && !domain.is_empty()
            && address.len() <= LONGEST_ADDRESS
            && local.chars().all(is_atom)
            && domain.chars().all(is_name);
        if !is_address || name.chars().any(|c| c.is_control() || "<>,@".contains(c)) {
            return Err(WRONG);
        }
        let name = name.trim().trim_matches('"').trim();
        Ok(Self {
            name: (!name.is_empty()).then(|| name.to_owned()),
            address: address.to_owned(),
        })
    }

    /// The name, if it has one, and the address.
    pub(super) fn shown(&self) -> Address<'_> {
        Address::new_address(self.name.as_deref(), &*self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly() {
        for (text, name, address) in [
            ("ops@example.com", None, "ops@example.com"),
            (
                " Ops Team <ops+k8s@mail.example.com> ",
                Some("Ops Team"),
                "ops+k8s@mail.example.com",
            ),
            ("\"Ops\" <o@e>", Some("Ops"), "o@e"),
            ("Größe <o@e>", Some("Größe"), "o@e"),
            ("<o@e>", None, "o@e"),
        ] {
            let read = Mailbox::parse(text).unwrap();
            assert_eq!(
                (read.name.as_deref(), &*read.address),
                (name, address),
                "{text}"
            );
        }
        for wrong in [
            "",
            "ops",
            "@",
            "ops@",
            "@example.com",
            "a b@e",
            "a@b@c",
            "a@e>",
            "x <a@e",
            "a@e\r\nRCPT TO:<b@e>",
            "a@e\n",
            "x\r\nBcc: b@e <a@e>",
            "a@ü.example",
            "<a@e> <b@e>",
            "a@e;b@e",
            "\"a b\"@e",
            "a@[127.0.0.1]",
        ] {
            // White space around an address is left out.
            if wrong.trim() != "a@e" {
                assert!(Mailbox::parse(wrong).is_err(), "{wrong:?}");
            }
        }
    }
}
