//! Which cluster a command asks.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::names::namespace;

/// Which cluster a command asks, and how it writes.
#[derive(Args, Clone, Debug, Default)]
pub struct ClusterArgs {
    /// File with the cluster and the credentials. The default is KUBECONFIG, else ~/.kube/config, else the account of
    /// the pod.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig. The default is its current context.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Namespace. The default is that of the context.
    #[arg(long, short, value_name = "NAME", value_parser = namespace)]
    pub namespace: Option<String>,

    /// When to write in colours. `auto` writes them on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub color: Colour,
}

/// When to write in colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
