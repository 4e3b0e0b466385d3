//! `--resolve FIELD=WHAT` and `--names`: fields by the names of the agent's host, and fields shown in
//! another form than their type says.

use std::str::FromStr;

use bpfgate_client::value::{Display, Field, Kind, Type};
use bpfgate_client::{LabelResolution, v1};

use crate::exit::{Exit, Failure};

/// What a field is to be read and written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolve {
    /// By the name that the agent's host has for its number.
    Name(LabelResolution),
    /// In another form, which this command line knows by itself.
    Form { field: String, form: Form },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Ip,
    Mac,
    Hex,
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = |word: &str| match word {
            "ip" => Some(Form::Ip),
            "mac" => Some(Form::Mac),
            "hex" => Some(Form::Hex),
            _ => None,
        };
        let known = text.split_once('=').and_then(|(field, word)| Some((field, form(word)?)));
        if let Some((field, form)) = known.filter(|(field, _)| !field.is_empty()) {
            return Ok(Self::Form { field: field.to_owned(), form });
        }
        let name = text.parse::<LabelResolution>().map_err(|error| format!("{error}, mac, hex"))?;
        Ok(Self::Name(name))
    }
}

/// Those that the agent is to be asked for.
pub(crate) fn names(asked: &[Resolve]) -> Vec<LabelResolution> {
    let name = |resolve: &Resolve| match resolve {
        Resolve::Name(name) => Some(name.clone()),
        Resolve::Form { .. } => None,
    };
    asked.iter().filter_map(name).collect()
}

/// Has a map's types show fields in the forms that were asked for.
pub(crate) fn apply(map: &mut v1::Map, asked: &[Resolve]) -> Result<(), Failure> {
    for resolve in asked {
        let Resolve::Form { field, form } = resolve else { continue };
        let spec = map.spec.clone().unwrap_or_default();
        let schema = map.schema.get_or_insert_default();
        let mut done = false;
        for (whole, size, ty) in [
            ("key", spec.key_size, &mut schema.key),
            ("value", spec.value_size, &mut schema.value),
            // Of the sums the same field, as far as it is there.
            ("value", 0, &mut map.sum_type),
        ] {
            if size == 0 && ty.is_none() || done && whole == "key" {
                continue;
            }
            let mut known = match ty.clone() {
                Some(wire) => match Type::try_from(wire) {
                    Ok(known) => known,
                    Err(_) => continue,
                },
                None => Type::opaque(size),
            };
            let path = if field == whole && find(&mut known, field).is_none() { "" } else { field };
            if let Some(part) = find(&mut known, path)
                && show(part, *form)
            {
                done = true;
                *ty = Some(known.into());
            }
        }
        if !done {
            let name = &map.name;
            let text = format!(
                "--resolve {field}={}: map {name} has no field {field} of such a size",
                form.word()
            );
            return Err(Failure::new(Exit::Usage, text));
        }
    }
    Ok(())
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Mac => "mac",
            Self::Hex => "hex",
        }
    }
}

/// The part of a type at that path; all elements of an array are one.
fn find<'t>(ty: &'t mut Type, path: &str) -> Option<&'t mut Type> {
    if path.is_empty() {
        return Some(ty);
    }
    match &mut ty.kind {
        Kind::Array { element, .. } => {
            let behind = match path.strip_prefix('[') {
                Some(index) => index.split_once(']')?.1,
                None => return None,
            };
            find(element, behind.trim_start_matches('.'))
        }
        Kind::Record { fields, .. } => {
            let own = |field: &Field| {
                let behind = path.strip_prefix(field.name.as_str())?;
                let ends = behind.is_empty() || behind.starts_with(['.', '[']);
                (!field.name.is_empty() && ends).then(|| behind.trim_start_matches('.').to_owned())
            };
            for field in fields {
                if let Some(behind) = own(field) {
                    return find(&mut field.ty, &behind);
                }
                // Its fields belong to the record around it.
                if field.name.is_empty() && find(&mut field.ty.clone(), path).is_some() {
                    return find(&mut field.ty, path);
                }
            }
            None
        }
        Kind::Integer { .. }
        | Kind::Float
        | Kind::Enum { .. }
        | Kind::Pointer
        | Kind::Opaque { .. } => None,
    }
}

/// Whether the type can be shown so; an array by its elements, if these are what fits.
fn show(ty: &mut Type, form: Form) -> bool {
    let wanted = match (form, ty.size) {
        (Form::Ip, 4) => Some(Display::Ipv4),
        (Form::Ip, 16) => Some(Display::Ipv6),
        (Form::Mac, 6) => Some(Display::Mac),
        (Form::Hex, _) => Some(Display::Hex),
        _ => None,
    };
    match (&mut ty.kind, wanted) {
        (Kind::Array { element, .. }, Some(Display::Hex)) if element.size != 1 => {
            show(element, form)
        }
        (
            Kind::Integer { display, .. } | Kind::Opaque { display } | Kind::Array { display, .. },
            Some(wanted),
        ) => {
            *display = wanted;
            true
        }
        (Kind::Array { element, .. }, None) => show(element, form),
        (Kind::Record { .. }, Some(wanted)) if wanted != Display::Hex => {
            ty.kind = Kind::Opaque { display: wanted };
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bpfgate_client::Layout;

    use super::*;

    #[test]
    fn a_form_is_told_from_a_name() {
        let form = |form| Ok(Resolve::Form { field: "a.b".to_owned(), form });
        assert_eq!("a.b=ip".parse(), form(Form::Ip));
        assert_eq!("a.b=hex".parse(), form(Form::Hex));
        let Ok(Resolve::Name(name)) = "uid=user".parse() else { panic!("a name") };
        assert_eq!(name.to_string(), "uid=user");
        for wrong in ["", "uid", "=ip", "uid=", "uid=what"] {
            assert!(wrong.parse::<Resolve>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_of_an_addresss_size_become_one() {
        let spec = v1::MapSpec { key_size: 4, value_size: 16, ..Default::default() };
        let mut map = v1::Map { spec: Some(spec), value_stride: 16, ..Default::default() };
        let ask = |text: &str| vec![text.parse::<Resolve>().unwrap()];
        apply(&mut map, &ask("key=ip")).unwrap();
        apply(&mut map, &ask("value=ip")).unwrap();
        let layout = Layout::of(&map).unwrap();
        assert_eq!(layout.key.show(&[10, 0, 0, 1]), "10.0.0.1");
        assert_eq!(layout.key.parse("10.0.0.1").unwrap(), [10, 0, 0, 1]);
        assert_eq!(layout.value.show(&[0; 16]), "::");
        assert!(apply(&mut map, &ask("key=mac")).is_err());
        assert!(apply(&mut map, &ask("other=ip")).is_err());
    }
}
