//! Where traces are sent. The variables of the environment are those of OpenTelemetry's specification, so that a platform
//! which sets them for all programs reaches this one as well.

use std::collections::BTreeMap;
use std::fmt;

use clap::Args;
use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::outbox::TraceReceiver;
use crate::text::port_problem;

/// Arguments about traces.
#[derive(Args, Clone, Debug, Default)]
pub struct TraceArgs {
    /// Base address of a receiver of OpenTelemetry traces (OTLP over HTTP with JSON), such as
    /// `http://otel-collector.observability:4318`: `/v1/traces` is appended. Without this argument and the next,
    /// towline makes no traces.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Whole address of a receiver of traces, to which nothing is appended. It wins over --otlp-endpoint.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_name = "URL")]
    pub otlp_traces_endpoint: Option<String>,

    /// Headers of requests with traces: `name=value,name=value`, with percent escapes in values. Everybody who sees the
    /// pod sees an argument; set the variable from a Secret instead.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        hide_env_values = true,
        value_name = "HEADERS"
    )]
    pub otlp_headers: Option<Hidden>,

    /// Name of this service in traces. The default is `towline`.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub otlp_service_name: Option<String>,

    /// More attributes of the resource in traces: `name=value,name=value`, with percent escapes in values.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", value_name = "ATTRIBUTES")]
    pub otlp_resource_attributes: Option<String>,
}

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(String);

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// Why traces cannot be sent. It holds no value of a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// An address is none.
    #[error("{0} is no address of a receiver: {1}")]
    Address(&'static str, &'static str),
    /// Headers cannot be read.
    #[error("--otlp-headers: the {0}. header is not NAME=VALUE")]
    Header(usize),
    /// Attributes cannot be read.
    #[error("--otlp-resource-attributes: the {0}. attribute is not NAME=VALUE")]
    Attribute(usize),
}

impl TraceArgs {
    /// Where traces are sent. None if nobody asks for traces. `cluster` is the name of this cluster, where it has one.
    ///
    /// # Errors
    ///
    /// [`TraceError`].
    pub fn receiver(&self, cluster: Option<&str>) -> Result<Option<TraceReceiver>, TraceError> {
        let given = |value: &Option<String>| value.clone().filter(|text| !text.trim().is_empty());
        let whole = given(&self.otlp_traces_endpoint);
        let base = given(&self.otlp_endpoint);
        let url = match (whole, base) {
            (Some(whole), _) => address("--otlp-traces-endpoint", &whole)?,
            (None, Some(base)) => {
                let base = address("--otlp-endpoint", &base)?;
                format!("{}/v1/traces", base.trim_end_matches('/'))
            }
            (None, None) => return Ok(None),
        };
        let headers = self.otlp_headers.clone().unwrap_or_default();
        let headers = pairs(&headers.0).map_err(TraceError::Header)?;
        let is_header = |(name, value): &(String, String)| {
            name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok()
        };
        if let Some(wrong) = headers.iter().position(|header| !is_header(header)) {
            return Err(TraceError::Header(wrong + 1));
        }
        let attributes = given(&self.otlp_resource_attributes).unwrap_or_default();
        let attributes = pairs(&attributes).map_err(TraceError::Attribute)?;
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut resource = BTreeMap::from([
            own("service.name", "towline"),
            own("service.version", env!("CARGO_PKG_VERSION")),
        ]);
        resource.extend(cluster.map(|name| own("k8s.cluster.name", name)));
        resource.extend(attributes);
        resource.extend(given(&self.otlp_service_name).map(|name| own("service.name", &name)));
        Ok(Some(TraceReceiver {
            url,
            headers,
            resource: resource.into_iter().collect(),
        }))
    }
}

/// An address without user and password, which would reach the logs of proxies.
fn address(argument: &'static str, text: &str) -> Result<String, TraceError> {
    let wrong = |why| TraceError::Address(argument, why);
    let text = text.trim();
    let url: Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it does not begin with http:// or https://"));
    }
    if url.host().unwrap_or_default().is_empty() {
        return Err(wrong("it has no host"));
    }
    let authority = url.authority().map(http::uri::Authority::as_str);
    if authority.is_some_and(|authority| authority.contains('@')) {
        return Err(wrong("it has a user: set a header instead"));
    }
    if let Some(problem) = authority.and_then(port_problem) {
        return Err(wrong(problem));
    }
    Ok(text.to_owned())
}

/// The pairs of `name=value,name=value`. The error is the number of the first that is none.
fn pairs(text: &str) -> Result<Vec<(String, String)>, usize> {
    let all = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let pair = |(index, one): (usize, &str)| {
        let (name, value) = one.split_once('=').ok_or(index + 1)?;
        let value = percent_decode_str(value.trim()).decode_utf8();
        let value = value.map_err(|_| index + 1)?.into_owned();
        match name.trim() {
            "" => Err(index + 1),
            name => Ok((name.to_owned(), value)),
        }
    };
    all.enumerate().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(endpoint: &str) -> TraceArgs {
        TraceArgs {
            otlp_endpoint: Some(endpoint.to_owned()),
            ..TraceArgs::default()
        }
    }

    fn url(args: &TraceArgs) -> Option<String> {
        args.receiver(None).unwrap().map(|receiver| receiver.url)
    }

    #[test]
    fn the_path_is_appended_to_the_base_only() {
        assert_eq!(url(&TraceArgs::default()), None);
        for (endpoint, is) in [
            ("", None),
            (" ", None),
            ("http://c:4318", Some("http://c:4318/v1/traces")),
            ("http://c:4318/", Some("http://c:4318/v1/traces")),
            ("https://c/otlp/", Some("https://c/otlp/v1/traces")),
        ] {
            assert_eq!(url(&args(endpoint)).as_deref(), is, "{endpoint}");
        }
        let whole = TraceArgs {
            otlp_traces_endpoint: Some("https://c/as/it/is".to_owned()),
            ..args("http://other")
        };
        assert_eq!(url(&whole).as_deref(), Some("https://c/as/it/is"));
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for wrong in [
            "collector:4318",
            "grpc://c:4317",
            "http://",
            "http://a b",
            "http://user:secret@c",
            "http://c:99999",
        ] {
            let error = args(wrong).receiver(None).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let with = |headers: &str| TraceArgs {
            otlp_headers: Some(headers.to_owned().into()),
            ..args("http://c")
        };
        let given = with("authorization=Bearer%20s3cret, x-scope=a=b,");
        let receiver = given.receiver(None).unwrap().unwrap();
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            receiver.headers,
            [own("authorization", "Bearer s3cret"), own("x-scope", "a=b")]
        );
        assert!(!format!("{given:?}").contains("s3cret"));
        for wrong in [
            "s3cret",
            "a=b,=s3cret",
            "a b=s3cret",
            "a=b%0As3cret",
            "a=%ff",
        ] {
            let error = with(wrong).receiver(None).unwrap_err();
            assert!(matches!(error, TraceError::Header(1 | 2)), "{wrong}");
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }

    #[test]
    fn the_resource_says_who_tells() {
        let given = TraceArgs {
            otlp_service_name: Some("gitops".to_owned()),
            otlp_resource_attributes: Some("service.name=x,team=a%2Cb".to_owned()),
            ..args("http://c")
        };
        let resource = |args: &TraceArgs| args.receiver(Some("eu-1")).unwrap().unwrap().resource;
        let found = resource(&given);
        let has = |name: &str, value: &str| {
            let pair = (name.to_owned(), value.to_owned());
            assert!(found.contains(&pair), "{pair:?} is not in {found:?}");
        };
        has("service.name", "gitops");
        has("service.version", env!("CARGO_PKG_VERSION"));
        has("k8s.cluster.name", "eu-1");
        has("team", "a,b");
        assert_eq!(found.len(), 4);
        let plain = resource(&args("http://c"));
        assert!(plain.contains(&("service.name".to_owned(), "towline".to_owned())));
    }
}
