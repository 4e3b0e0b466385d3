//! What comes from elsewhere: schemas over gRPC, BTF out of files and the kernel.

use bpfgate_proto::v1;
use bpfgate_proto::value::{Plan, Schema, Type};
use bpfgate_server::btf;
use prost::Message as _;

use crate::codec::check;

/// Larger types take longer without being different.
const SIZE_MAX: usize = 4096;

/// Any message: refused, or a schema that stays itself and whose plans work.
pub fn schema(input: &[u8]) {
    let Ok(wire) = v1::Schema::decode(input) else { return };
    let Ok(schema) = Schema::try_from(wire) else { return };
    let again = Schema::try_from(v1::Schema::from(schema.clone()));
    assert_eq!(again.as_ref(), Ok(&schema));
    for ty in [schema.key, schema.value].into_iter().flatten() {
        usable(&ty);
    }
}

fn usable(ty: &Type) {
    match Plan::compile(ty) {
        Ok(plan) if plan.size() <= SIZE_MAX => {
            check(&plan, &vec![0; plan.size()]);
            check(&plan, &vec![0x61; plan.size()]);
            let _ = plan.parse(&plan.example());
        }
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Any BTF: refused or read, in sizes that the caller asked for.
pub fn btf(input: &[u8]) {
    let _ = btf::variables(input);
    let _ = btf::named_type(input, "struct s");
    for id in 0..16 {
        let _ = btf::tags(input, id);
        let Ok(schema) = btf::compile_schema(input, id, id, 4, 32) else { continue };
        let sizes = [&schema.key, &schema.value].map(|ty| ty.as_ref().map(|ty| ty.size));
        assert_eq!(sizes, if id == 0 { [None, None] } else { [Some(4), Some(32)] });
        for ty in [&schema.key, &schema.value].into_iter().flatten() {
            let plan = Plan::compile(ty).expect("what a schema has compiles");
            check(&plan, &vec![0x61; plan.size()]);
        }
        let again = Schema::try_from(v1::Schema::from(schema.clone()));
        assert_eq!(again, Ok(schema));
    }
}
