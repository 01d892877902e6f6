//! Receives answers of the API server up to a limit.

use http::{Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::Client;
use kube::client::Body;
use kube::core::Status;

use crate::chain::NOT_A_STATUS;

/// Sends a request, and receives at most `room` bytes. None where the answer is longer.
pub(super) async fn receive(
    client: &Client,
    request: Request<Body>,
    room: usize,
) -> Result<Option<String>, kube::Error> {
    let (head, body): (_, Body) = client.send(request).await.map(Response::into_parts)?;
    let body = match Limited::new(body, room).collect().await {
        Ok(body) => Vec::from(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => return Ok(None),
        Err(error) => return Err(kube::Error::Service(error)),
    };
    let text = String::from_utf8(body).map_err(kube::Error::FromUtf8)?;
    if head.status.is_success() {
        return Ok(Some(text));
    }
    let code = head.status.as_u16();
    // What stands before an API server may answer with something else. kube's own requests say it in the same way.
    let status = serde_json::from_str(&text).unwrap_or_else(|_| Status {
        message: text,
        reason: NOT_A_STATUS.to_owned(),
        ..Status::default()
    });
    let status = Status { code, ..status };
    Err(kube::Error::Api(Box::new(status)))
}
