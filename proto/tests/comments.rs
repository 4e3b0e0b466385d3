//! Every part of the API says what it is: whoever calls it by reflection has nothing else to read.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
    ServiceDescriptorProto,
};

// Numbers of fields in descriptor.proto: paths of source locations are made of these.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const FILE_SERVICE: i32 = 6;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;
const MESSAGE_ONEOF: i32 = 8;
const ENUM_VALUE: i32 = 2;
const SERVICE_METHOD: i32 = 2;

/// The names of what has no comment in front of it.
struct Check<'a> {
    comments: HashMap<&'a [i32], &'a str>,
    silent: Vec<String>,
    seen: usize,
}

impl Check<'_> {
    fn part(&mut self, name: &str, path: &[i32]) {
        self.seen += 1;
        if self.comments.get(path).is_none_or(|comment| comment.trim().is_empty()) {
            self.silent.push(name.to_owned());
        }
    }

    fn message(&mut self, parent: &str, message: &DescriptorProto, path: &[i32]) {
        // What `map<…>` stands for is nobody's to comment.
        if message.options.as_ref().is_some_and(MessageOptions::map_entry) {
            return;
        }
        let name = format!("{parent}.{}", message.name());
        self.part(&name, path);
        for (index, field) in (0..).zip(&message.field) {
            self.part(&format!("{name}.{}", field.name()), &below(path, MESSAGE_FIELD, index));
        }
        for (index, oneof) in (0..).zip(&message.oneof_decl) {
            // An `optional` field is in one of its own.
            if !oneof.name().starts_with('_') {
                self.part(&format!("{name}.{}", oneof.name()), &below(path, MESSAGE_ONEOF, index));
            }
        }
        for (index, nested) in (0..).zip(&message.nested_type) {
            self.message(&name, nested, &below(path, MESSAGE_NESTED, index));
        }
        for (index, enumeration) in (0..).zip(&message.enum_type) {
            self.enumeration(&name, enumeration, &below(path, MESSAGE_ENUM, index));
        }
    }

    fn enumeration(&mut self, parent: &str, enumeration: &EnumDescriptorProto, path: &[i32]) {
        let name = format!("{parent}.{}", enumeration.name());
        self.part(&name, path);
        for (index, value) in (0..).zip(&enumeration.value) {
            self.part(&format!("{name}.{}", value.name()), &below(path, ENUM_VALUE, index));
        }
    }

    fn service(&mut self, parent: &str, service: &ServiceDescriptorProto, path: &[i32]) {
        let name = format!("{parent}.{}", service.name());
        self.part(&name, path);
        for (index, method) in (0..).zip(&service.method) {
            self.part(&format!("{name}.{}", method.name()), &below(path, SERVICE_METHOD, index));
        }
    }
}

fn below(path: &[i32], field: i32, index: i32) -> Vec<i32> {
    [path, &[field, index]].concat()
}

/// How many parts a file has, and which of them say nothing.
fn silent(file: &FileDescriptorProto) -> (usize, Vec<String>) {
    let info = file.source_code_info.as_ref().expect("comments are compiled in");
    let comments = info.location.iter().map(|at| (at.path.as_slice(), at.leading_comments()));
    let mut check = Check { comments: comments.collect(), silent: Vec::new(), seen: 0 };
    for (index, message) in (0..).zip(&file.message_type) {
        check.message(file.package(), message, &[FILE_MESSAGE, index]);
    }
    for (index, enumeration) in (0..).zip(&file.enum_type) {
        check.enumeration(file.package(), enumeration, &[FILE_ENUM, index]);
    }
    for (index, service) in (0..).zip(&file.service) {
        check.service(file.package(), service, &[FILE_SERVICE, index]);
    }
    (check.seen, check.silent)
}

#[test]
fn every_part_of_the_api_has_a_comment() {
    let set = FileDescriptorSet::decode(bpfgate_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let ours = set.file.iter().filter(|file| file.package().starts_with("bpfgate."));
    let (seen, silent): (Vec<usize>, Vec<_>) = ours.map(silent).unzip();
    assert!(seen.iter().sum::<usize>() > 500, "the descriptors are not whole: {seen:?}");
    let silent = silent.concat();
    assert!(silent.is_empty(), "no comment in front of {silent:#?}");
}
