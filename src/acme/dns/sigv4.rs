//! Signature Version 4 of requests to AWS.

use http::{HeaderMap, HeaderValue, Method, Uri};
use jiff::Timestamp;
use ring::hmac;

use super::{error::Failure, web::sensitive};
use crate::util::{hash::sha256, hex};

/// The key that signs, and where it counts.
pub(super) struct Credentials<'a> {
    /// The ID of the access key.
    pub(super) id: &'a str,
    /// The secret access key.
    pub(super) secret: &'a str,
    /// The region.
    pub(super) region: &'a str,
    /// The service.
    pub(super) service: &'a str,
}

/// Returns the headers that sign a request at a Unix time. The query must be sorted and need no
/// escapes.
pub(super) fn headers(
    credentials: &Credentials<'_>,
    method: &Method,
    url: &Uri,
    body: &[u8],
    now: u64,
) -> Result<HeaderMap, Failure> {
    let time = i64::try_from(now).map_err(Failure::new)?;
    let time = Timestamp::from_second(time).map_err(Failure::new)?;
    let stamp = time.strftime("%Y%m%dT%H%M%SZ").to_string();
    let host = url.authority().map_or("", |host| host.as_str());
    let request = format!(
        "{method}\n{}\n{}\nhost:{host}\nx-amz-date:{stamp}\n\nhost;x-amz-date\n{}",
        url.path(),
        url.query().unwrap_or_default(),
        sha256(body),
    );

    let mut headers = HeaderMap::new();
    let authorization = authorization(credentials, &stamp, "host;x-amz-date", &request);
    headers.insert("authorization", sensitive(&authorization)?);
    let stamp = HeaderValue::from_str(&stamp).map_err(Failure::new)?;
    headers.insert("x-amz-date", stamp);
    Ok(headers)
}

/// Returns the value of `Authorization` for a canonical request.
fn authorization(
    credentials: &Credentials<'_>,
    stamp: &str,
    signed: &str,
    request: &str,
) -> String {
    let Credentials {
        id,
        secret,
        region,
        service,
    } = credentials;
    let date = stamp.split('T').next().unwrap_or_default();
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let hash = sha256(request.as_bytes());
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hash}");

    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [date, region, service, "aws4_request"] {
        key = sign(&key, part).as_ref().to_vec();
    }
    let signature = hex::encode(sign(&key, &text).as_ref());
    format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
}

fn sign(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the documentation of AWS.
    #[test]
    fn a_request_is_signed_as_aws_documents_it() {
        let credentials = Credentials {
            id: "AKIDEXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "iam",
        };
        let signed = "content-type;host;x-amz-date";
        let request = format!(
            "GET\n/\nAction=ListUsers&Version=2010-05-08\n\
             content-type:application/x-www-form-urlencoded; charset=utf-8\n\
             host:iam.amazonaws.com\nx-amz-date:20150830T123600Z\n\n{signed}\n{}",
            sha256(b""),
        );
        let expected = "AWS4-HMAC-SHA256 \
            Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
            SignedHeaders=content-type;host;x-amz-date, \
            Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        assert_eq!(
            authorization(&credentials, "20150830T123600Z", signed, &request),
            expected
        );
    }
}
