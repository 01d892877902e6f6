//! E-mail: the message in the form of RFC 5322.

use http::Method;
use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::raw::Raw;
use sha2::{Digest as _, Sha256};

use super::mailbox::{Mailbox, Mailing};
use super::{Destination, Message, Request, key, unique};

/// The most threads that a message belongs to.
const THREADS: usize = 20;

/// The message, with headers that keep what is about one problem together (`References`), and that keep machines from
/// answering (RFC 3834).
pub(super) fn email(message: &Message, to: &Destination) -> Option<Request> {
    let Mailing { sender, recipients } = to.mailing.as_ref()?;
    let (_, domain) = sender.address.split_once('@')?;
    let shown: Vec<Address<'_>> = recipients.iter().map(Mailbox::shown).collect();
    let text = match message.text.trim() {
        "" => &message.title,
        text => text,
    };
    let mut mail = MessageBuilder::new()
        .from(sender.shown())
        .to(shown)
        .subject(message.title.replace(char::is_control, " "))
        .date(message.at.as_second())
        // The same when it is sent again, so that a server may know it.
        .message_id(format!("{}@{domain}", unique(&message.id, 64)))
        .header("Auto-Submitted", Raw::new("auto-generated"))
        .text_body(format!("{text}\n"));
    // What ends several problems, or replaces one, belongs to the thread of each.
    let threads: Vec<String> = message
        .problems
        .iter()
        .take(THREADS)
        .map(|problem| Sha256::digest(key(message, problem, 512)))
        .map(|digest| format!("{}@{domain}", hex::encode(&digest[..12])))
        .collect();
    if !threads.is_empty() {
        mail = mail.references(threads);
    }
    let mut headers = vec![("from".to_owned(), sender.address.clone())];
    let all = recipients.iter();
    headers.extend(all.map(|to| ("to".to_owned(), to.address.clone())));
    headers.extend(to.authorization());
    Some(Request {
        method: Method::POST,
        url: to.address.url(),
        headers,
        body: mail.write_to_vec().ok()?,
    })
}
