//! Options that may stand before the command as well as after it, as those of kubectl.

use std::path::PathBuf;

use clap::builder::EnumValueParser;
use clap::{Arg, Command, CommandFactory as _, value_parser};

use super::{Cli, Colour, names};

/// The command line as it is parsed.
///
/// The options are those of [`super::ClusterArgs`], by the same names: what stands before the command counts as if it stood
/// after it. They are hidden here, since the help of each command shows its own.
pub fn command() -> Command {
    let global = |name: &'static str| Arg::new(name).long(name).global(true).hide(true);
    Cli::command()
        .arg(global("kubeconfig").value_parser(value_parser!(PathBuf)))
        .arg(global("context"))
        .arg(
            global("namespace")
                .short('n')
                .value_parser(names::namespace),
        )
        .arg(global("color").value_parser(EnumValueParser::<Colour>::new()))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::super::{ClusterCommand, Command as Parsed, CreateCommand, SecretCommand};
    use super::*;

    fn parsed(line: &str) -> Result<Parsed, clap::Error> {
        let words = std::iter::once("towline").chain(line.split(' '));
        let matches = command().try_get_matches_from(words)?;
        Ok(Cli::from_arg_matches(&matches)?.command)
    }

    #[test]
    fn options_stand_before_the_command_or_after_it() {
        command().debug_assert();
        for line in [
            "--context x -n a --color=never get",
            "get --context x -n a --color=never",
            "--context y --namespace b --color=never get --context x -n a",
        ] {
            let Parsed::Cluster(ClusterCommand::Get(get)) = parsed(line).unwrap() else {
                panic!("{line}");
            };
            let cluster = get.cluster;
            assert_eq!(cluster.context.as_deref(), Some("x"), "{line}");
            assert_eq!(cluster.namespace.as_deref(), Some("a"), "{line}");
            assert_eq!(cluster.color, Colour::Never, "{line}");
        }
        let line = "--kubeconfig f -n a create secret hook it";
        let Parsed::Cluster(ClusterCommand::Create(CreateCommand::Secret(SecretCommand::Hook(
            hook,
        )))) = parsed(line).unwrap()
        else {
            panic!("{line}");
        };
        assert_eq!(hook.secret.cluster.kubeconfig, Some("f".into()));
        let Parsed::Build(build) = parsed("-n a build apps").unwrap() else {
            panic!("build");
        };
        assert_eq!(build.namespace, "a");
        let Parsed::Run(run) = parsed("--context x run --kubeconfig f").unwrap() else {
            panic!("run");
        };
        assert_eq!(
            (run.context.as_deref(), run.kubeconfig),
            (Some("x"), Some("f".into()))
        );
        for wrong in ["-n UPPER get", "--namespace", "--all-namespaces get"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
