//! What a failed call means for the caller.

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use tidegate_engine::ports::PortError;

/// Classifies by AWS's error codes. Words are the service's own, with the code.
pub(crate) fn classify<E: ProvideErrorMetadata>(what: &str, error: &SdkError<E, HttpResponse>) -> PortError {
    let SdkError::ServiceError(answer) = error else {
        return PortError::retry(format!("{what}: {}", unanswered(error)));
    };
    let code = answer.err().code().unwrap_or("unknown error");
    let status = answer.raw().status().as_u16();
    let why = match answer.err().message() {
        Some(message) => format!("{what}: {code}: {message}"),
        None => format!("{what}: {code} ({status})"),
    };
    // Codes of the query protocol have a prefix.
    match code.rsplit('.').next().unwrap_or(code) {
        "InvalidMessageContents"
        | "InvalidParameterValue"
        | "InvalidParameterCombination"
        | "UnsupportedOperation"
        | "InvalidAttributeValue"
        | "MissingParameter"
        | "ValidationException" => PortError::Reject { why },
        "AccessDenied"
        | "AccessDeniedException"
        | "InvalidSecurity"
        | "InvalidAddress"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "QueueDoesNotExist"
        | "NonExistentQueue"
        | "KmsAccessDenied"
        | "KmsDisabled"
        | "KmsNotFound" => PortError::Fatal { why },
        _ => PortError::retry(why),
    }
}

/// What went wrong before there was an answer, in a few words and without the request.
fn unanswered<E>(error: &SdkError<E, HttpResponse>) -> String {
    match error {
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(failure) => {
            let mut words = "not reached".to_owned();
            let mut cause = failure.as_connector_error().map(|error| error as &dyn std::error::Error);
            while let Some(inner) = cause {
                words += &format!(": {inner}");
                cause = inner.source();
            }
            words
        }
        SdkError::ResponseError(_) => "an answer that cannot be read".to_owned(),
        SdkError::ConstructionFailure(_) => "the request could not be made".to_owned(),
        _ => "unknown failure".to_owned(),
    }
}
