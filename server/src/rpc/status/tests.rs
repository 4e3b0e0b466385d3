use super::*;

#[test]
fn a_status_names_the_offender_in_words_and_in_details() {
    let error = Error::Length { map: "m".into(), what: "key", got: 3, want: "4".into() };
    let status = Status::from(error);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "key for map m has 3 bytes, it must have 4");
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("bpfgate", "KEY_LENGTH"));
    assert_eq!(info.metadata["want"], "4");
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "key");
}

#[test]
fn the_kernels_answer_is_told_once() {
    let source = io::Error::from_raw_os_error(libc::EINVAL);
    let error = Error::from(crate::broker::Error::CreateMap { name: "m".into(), source });
    let status = Status::from(error);
    assert_eq!(
        status.message(),
        "could not create map m: this kernel does not take it so (EINVAL)"
    );
}

#[test]
fn a_long_log_keeps_its_end() {
    let log = format!("{}\nthe reason", "x".repeat(10_000));
    let tail = tail(&log, 100);
    assert!(tail.ends_with("the reason") && tail.len() < 200, "{tail}");
}
