//! What people can do about a reason, in the words of `docs/operate/reasons.md`.

use super::Reason;

impl Reason {
    /// The way out, as the page about reasons has it: one to four sentences.
    pub fn way_out(self) -> &'static str {
        match self {
            Self::Converged
            | Self::Fetched
            | Self::InSync
            | Self::AllHealthy
            | Self::ChangeCommitted
            | Self::Unpinned
            | Self::Delivering
            | Self::Planned => "Nothing to do.",
            Self::Progressing => "Wait. The message counts objects, or says what is retried.",
            Self::HealthPending => {
                "Wait. The message says what for. After `timeout` the reason becomes `HealthFailed`."
            }
            Self::Pinned => {
                "Commit a fix or a revert: a commit that changes what the Sync was pinned away from ends the \
                 pin. Or end it with `towline unpin`."
            }
            Self::PinRefused => {
                "Pin the Sync to a revision of `towline history`, or end the pin with `towline unpin`."
            }
            Self::Suspended => "Set `spec.suspend` to `false` to go on.",
            Self::Deleting => {
                "The message names the objects and what holds them. Or annotate the Sync with \
                 `towline.dev/deletion-policy=Orphan`, or set `deletionPolicy: Orphan`, to let the Sync \
                 go."
            }
            Self::DriftFound => {
                "With `mode: Report`: correct the objects, or commit the change. With `mode: Correct`: \
                 another writer keeps changing them. Stop that writer, or remove the field from Git. An \
                 object that was deleted but still exists waits for its finalizers."
            }
            Self::DriftCorrected => "Ask the writer that the event names.",
            Self::FieldLeft => {
                "Remove the field from Git, or leave it to others. A new value in Git is tried again."
            }
            Self::FieldRewritten => {
                "Remove the field from Git, or put the value into Git that the object gets. Or ask whoever looks \
                 after the webhook or the policy."
            }
            Self::NotRunAgain => {
                "If the Job has to run again, change its manifest, or remove it from Git and add it again."
            }
            Self::Diff => {
                "Look at the condition `Ready` of the Sync: it names the objects, and its reason has a way out of its own."
            }
            Self::HealthFailed => {
                "Look at the objects and files that the message names; `towline why KIND/NAME` names the pod of a \
                 workload, and why it does not run. Commit a fix or a revert; it is applied at once. If the objects only need more time, raise \
                 `timeout`."
            }
            Self::FetchFailed => {
                "Check the URL. Is the server up? Can the pod reach it (DNS, NetworkPolicy, proxy)? Is \
                 the volume of the cache full?"
            }
            Self::AuthenticationFailed => {
                "Put the right credentials, host key or `ca.crt` into the Secret of `secretRef`, or those \
                 of the proxy into the Secret of `proxySecretRef`. towline tries the changed Secret at \
                 once. See the guide Credentials."
            }
            Self::CredentialsInvalid => {
                "Correct the key that the message names. towline reads the Secret again when it changes."
            }
            Self::RefNotFound => "Correct `spec.ref`.",
            Self::TooLarge => {
                "Remove the file from Git, or choose a smaller `path`. Delete GitRepositories that are no \
                 longer needed, or raise the budget that the message names. For a large file that is \
                 stored as a difference to another one, set `core.bigFileThreshold` on the server, or \
                 `*.bin -delta` in `.gitattributes`, and repack."
            }
            Self::WebhookInvalid => {
                "Create or correct the Secret. towline reads it when it changes. See the guide Webhooks."
            }
            Self::VerificationFailed => {
                "Find out who pushed it. Have the commit or tag signed by somebody in the Secret, or add \
                 the signer to the Secret. After an expired key was renewed, export it again. See the guide \
                 Verification."
            }
            Self::SignersInvalid => {
                "Correct the key and the line that the message names. towline reads the Secret again when \
                 it changes."
            }
            Self::InvalidSpec => "Correct what the message names.",
            Self::SourceNotReady => {
                "Look at the conditions of the GitRepository. It must be in the namespace of the Sync."
            }
            Self::PathNotFound => "Correct the path, or restore the folder.",
            Self::EmptyRender => {
                "Correct the path, `.towlineignore`, `spec.ignore`, or the values of the chart. To remove everything, \
                 delete the Sync."
            }
            Self::InvalidManifest => {
                "The message has the file, the document and the line. Correct the file and commit."
            }
            Self::RenderFailed => {
                "The message names the file, patch, template or object. Correct it and commit, or create what is \
                 missing. See the guide Kustomize and Helm."
            }
            Self::DecryptionFailed => {
                "The message names the file or the keys that could open it. See the guide Encrypted secrets."
            }
            Self::DependencyNotReady => {
                "Look at the Sync that the message names. This Sync continues by itself."
            }
            Self::DependencyCycle => {
                "The message names the circle. Remove one of its dependencies."
            }
            Self::KindNotServed => {
                "Is the definition in Git or installed otherwise? The object is applied as soon as the \
                 kind is served."
            }
            Self::OwnershipConflict => {
                "Remove it from one of the two paths. This Sync takes it over when the other has released \
                 it. A release is taken over when Helm has ended. If that Helm was stopped on its way, delete the Secret that the message names."
            }
            Self::ApplyFailed => {
                "The message is that of the server. For a field that cannot be changed, give the object a \
                 new name, or let towline replace it. For a missing right, see the guide Rights."
            }
            Self::ValidationFailed => {
                "Correct the objects that the message names. The revision is tried again every 30 \
                 seconds."
            }
            Self::HookFailed => {
                "The message names the hook, its file, the container that failed, and the command that \
                 shows its log. Correct the chart or its values, and commit. Hooks run again by \
                 themselves after a pause, and at once when you set `towline.dev/requested-at`. See the guide \
                 Hooks."
            }
            Self::PruneFailed => "The message is that of the server, or names the finalizers.",
            Self::PruneHeld => {
                "If it is a mistake, revert the commit. If it is meant, run the command at the end of the \
                 message. It sets the annotation `towline.dev/approve-prune` of the Sync to the digest, \
                 which approves exactly this deletion. A newer commit that deletes other objects has \
                 another digest. For a GitRepository, put `spec.sync` back, or delete the Sync yourself. See the page \
                 Concepts."
            }
            Self::Released => {
                "Delete the object yourself if you do not need it. To have adopted objects deleted, set \
                 `spec.pruneAdopted: true`."
            }
            Self::ApiUnavailable => {
                "Check the health of the API server. Check that towline may list that kind. towline tries \
                 again by itself."
            }
            Self::StatusRefused => {
                "Read the API server's words in the event. towline writes the whole status with the next \
                 change."
            }
            Self::DeliveryFailed => {
                "The message says which. A message that the service may take later is sent again after a \
                 growing pause, for up to 6 hours. A changed Secret or spec is used at once."
            }
            Self::ProviderInvalid => {
                "The message names the field, the Secret and the key. Correct it. Notices wait until \
                 then."
            }
            Self::ProviderNotReady => "Look at the Provider. Notices wait until then.",
            Self::PlanFailed => {
                "The message names the request and what is wrong. It is tried again by itself. For a \
                 missing right of the token, see the guide Pull requests."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantNames as _;

    use super::*;

    const PAGE: &str = include_str!("../../docs/operate/reasons.md");

    /// `[text](link)` becomes `text`, and line breaks become spaces.
    fn plain(markdown: &str) -> String {
        let mut text = String::new();
        let mut rest = markdown;
        while let Some((before, after)) = rest.split_once('[') {
            let (inner, after) = after.split_once("](").unwrap();
            text.push_str(before);
            text.push_str(inner);
            rest = after.split_once(')').unwrap().1;
        }
        text.push_str(rest);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_page_says_the_same() {
        for name in Reason::VARIANTS {
            let (_, section) = PAGE.split_once(&format!("\n### {name}\n")).unwrap();
            let section = section.split("\n#").next().unwrap();
            let (_, way) = section.split_once("- **Way out:** ").unwrap();
            let way = way.split("\n- **").next().unwrap();
            let way = way.split("\n\n").next().unwrap();
            let reason = Reason::named(name).unwrap();
            assert_eq!(reason.way_out(), plain(way), "{name}");
        }
    }
}
