//! The agent's refusal of a call, its google.rpc details parsed once.

use std::collections::BTreeMap;
use std::fmt;

use tonic::{Code, Status};
use tonic_types::{DebugInfo, StatusExt as _};

/// The agent's refusal of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcError {
    /// The call: `Lookup`.
    pub rpc: &'static str,
    /// What kind of refusal: each call's `# Errors` names its own.
    pub code: Code,
    /// For people. Names the offender.
    pub message: String,
    /// For programs: a stable word from `google.rpc.ErrorInfo`. `None` if none was sent.
    pub reason: Option<String>,
    /// What the reason is about: `map`, `limit`, …, from `google.rpc.ErrorInfo`.
    pub metadata: BTreeMap<String, String>,
    /// Which fields of the request were wrong, from `google.rpc.BadRequest`.
    pub field_violations: Vec<FieldViolation>,
    /// What is in the way, from `google.rpc.PreconditionFailure`.
    pub precondition_violations: Vec<PreconditionViolation>,
    /// The verifier's or the loader's log, from `google.rpc.DebugInfo`.
    pub verifier_log: Option<String>,
}

/// A field of the request that was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its path: `spec.key_size`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// Something that is in the way of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreconditionViolation {
    /// A stable word: what kind of thing.
    pub kind: String,
    /// Which one.
    pub subject: String,
    /// What to do about it.
    pub description: String,
}

impl RpcError {
    #[allow(clippy::needless_pass_by_value, reason = "the status ends here")]
    pub(crate) fn new(rpc: &'static str, status: Status) -> Self {
        let details = status.get_error_details();
        let (reason, metadata) = details.error_info().map_or_else(Default::default, |info| {
            let metadata = info.metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            (Some(info.reason.clone()), metadata)
        });
        let fields = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
        let preconditions =
            details.precondition_failure().map_or(&[][..], |failure| &failure.violations);
        Self {
            rpc,
            code: status.code(),
            message: status.message().to_owned(),
            reason,
            metadata,
            field_violations: fields
                .iter()
                .map(|v| FieldViolation {
                    field: v.field.clone(),
                    description: v.description.clone(),
                })
                .collect(),
            precondition_violations: preconditions
                .iter()
                .map(|v| PreconditionViolation {
                    kind: v.r#type.clone(),
                    subject: v.subject.clone(),
                    description: v.description.clone(),
                })
                .collect(),
            verifier_log: details.debug_info().and_then(log),
        }
    }
}

impl RpcError {
    /// Under which name the verifier's whole log is kept: see [`crate::Objects::verifier_log`].
    pub fn log(&self) -> Option<&str> {
        self.metadata.get("log").map(String::as_str)
    }

    /// How many entries were written or removed before a batch or a restore stopped. They stay so.
    pub fn applied(&self) -> Option<u64> {
        self.metadata.get("applied")?.parse().ok()
    }
}

fn log(info: &DebugInfo) -> Option<String> {
    let mut log = info.detail.clone();
    for line in &info.stack_entries {
        if !log.is_empty() && !log.ends_with('\n') {
            log.push('\n');
        }
        log.push_str(line);
    }
    (!log.trim().is_empty()).then_some(log)
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "{}: {}", self.rpc, self.code)?;
        } else {
            f.write_str(&self.message)?;
        }
        // The message says most of it already; add only what it leaves out.
        for FieldViolation { field, description } in &self.field_violations {
            if !self.message.contains(description.as_str()) {
                write!(f, "; {field}: {description}")?;
            }
        }
        for PreconditionViolation { description, .. } in &self.precondition_violations {
            if !self.message.contains(description.as_str()) {
                write!(f, "; {description}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for RpcError {}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn details_are_parsed_once() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("KEY_SIZE", "bpfgate", [("map".to_owned(), "o/m".to_owned())])
            .add_bad_request_violation("raw_key", "must have 4 bytes")
            .set_debug_info(vec!["R1 !read_ok".to_owned()], "0: (95) exit");
        let status =
            Status::with_error_details(Code::InvalidArgument, "map o/m: wrong key", details);
        let error = RpcError::new("Lookup", status);
        assert_eq!(error.reason.as_deref(), Some("KEY_SIZE"));
        assert_eq!(error.metadata["map"], "o/m");
        assert_eq!(error.field_violations[0].field, "raw_key");
        assert_eq!(error.verifier_log.as_deref(), Some("0: (95) exit\nR1 !read_ok"));
        assert_eq!(error.to_string(), "map o/m: wrong key; raw_key: must have 4 bytes");
    }

    #[test]
    fn a_status_without_details_or_text_still_says_something() {
        let error = RpcError::new("Lookup", Status::new(Code::Internal, ""));
        assert_eq!(error.reason, None);
        assert!(error.to_string().starts_with("Lookup: "), "{error}");
    }
}
