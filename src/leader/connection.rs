//! Connections to the API server: they send at once, how long they wait, and that kube does not retry on its own.

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder, ServiceExt as _};

use super::gate::{Gate, Guarded};
use crate::metrics::Metrics;

/// How long the API server may be silent during a request.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// A client for the lease itself.
pub(super) fn for_lease(config: Config, metrics: &Metrics) -> Result<Client, kube::Error> {
    unfenced(&patient(config, SILENCE), metrics)
}

/// A client that always writes: for the lease, and for the only replica.
pub(super) fn unfenced(config: &Config, metrics: &Metrics) -> Result<Client, kube::Error> {
    Ok(counted(direct(config)?, metrics))
}

/// A client whose requests are counted.
pub(super) fn counted(client: Client, metrics: &Metrics) -> Client {
    let namespace = client.default_namespace().to_owned();
    let transport = tower::service_fn(move |request| {
        let client = client.clone();
        async move { client.send(request).await }
    });
    let transport = ClientBuilder::new(transport, namespace);
    transport.with_layer(&metrics.requests()).build()
}

/// A client that always sends.
pub(super) fn direct(config: &Config) -> Result<Client, kube::Error> {
    over(config, connector(), None)
}

/// Opens connections that send at once. Without that, Linux keeps the first request of a connection back until the
/// server has acknowledged the end of the TLS handshake, which takes 40 ms. kube's own constructor leaves it so.
pub(super) fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector
}

/// kube's own stack, over the connections of this connector. With a gate, they send nothing while it is shut. All clients
/// have the same type of connection, since each type costs a tenth of a mebibyte of code.
pub(super) fn over(
    config: &Config,
    connector: HttpConnector,
    gate: Option<Gate>,
) -> Result<Client, kube::Error> {
    if let Some(proxy) = &config.proxy_url {
        return Err(kube::Error::ProxyProtocolUnsupported {
            proxy_url: Box::new(proxy.clone()),
        });
    }
    let connector = connector.map_response(move |stream| Guarded::new(stream, gate));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Turns off kube's own retries. They cover every verb, with up to 15 tries, so a driver could not
/// turn to a newer commit.
pub(super) fn patient(mut config: Config, silence: Duration) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(SILENCE);
    config.read_timeout = Some(silence);
    config.write_timeout = Some(SILENCE);
    // Otherwise the time in which the connection was idle counts as silence of the answer.
    config.reset_reader_on_write = true;
    config
}

#[cfg(test)]
mod tests {
    use tower::Service as _;

    use super::*;

    /// Answers two requests of one connection, the second one after a pause.
    fn answers(listener: &std::net::TcpListener, pause: Duration) {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        for pause in [Duration::ZERO, pause] {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            std::thread::sleep(pause);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }

    #[tokio::test]
    async fn what_a_connection_was_idle_does_not_count_as_silence() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let config = patient(Config::new(url.parse().unwrap()), Duration::from_secs(2));
        let client = direct(&config).unwrap();
        let server = std::thread::spawn(move || answers(&listener, Duration::from_secs(1)));
        let ask = async || {
            let request = http::Request::get("/").body(Vec::new()).unwrap();
            client.request_text(request).await.unwrap()
        };
        assert_eq!(ask().await, "{}");
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(ask().await, "{}");
        server.join().unwrap();
    }

    #[tokio::test]
    async fn connections_send_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url: http::Uri = format!("https://{address}/").parse().unwrap();
        let stream = connector().call(url).await.unwrap();
        assert!(stream.inner().nodelay().unwrap());
    }
}
