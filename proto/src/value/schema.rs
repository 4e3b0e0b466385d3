//! The types of keys and values: the messages of `common.proto` without their gaps.

/// What the bytes of a map's keys and values mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// `None` where nothing is known of the key.
    pub key: Option<Type>,
    /// `None` where nothing is known of the value.
    pub value: Option<Type>,
    /// Where this is known from.
    pub source: SchemaSource,
}

/// Where a schema comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaSource {
    /// The BTF that the map was created with.
    Btf,
    /// The layout that its creator declared.
    Declared,
}

/// One type. A tree: pointers are leaves, so it always ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// As written in C, without its qualifiers: `struct flow_key`, `__u32`. Empty if anonymous.
    pub name: String,
    /// In bytes.
    pub size: u32,
    /// What it is made of.
    pub kind: Kind,
}

/// What a type is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An integer of 1 to 16 bytes.
    Integer {
        /// How the bits are read.
        encoding: Encoding,
        /// In network byte order whatever the host's.
        big_endian: bool,
        /// How people want to see it.
        display: Display,
    },
    /// An IEEE 754 number of 4 or 8 bytes.
    Float,
    /// A C enum of 1, 2, 4 or 8 bytes.
    Enum {
        /// Numbers below zero are possible.
        signed: bool,
        /// In order of declaration.
        values: Vec<EnumValue>,
    },
    /// A struct, a union, or a section of global variables.
    Record {
        /// All fields share their bytes.
        is_union: bool,
        /// In order of declaration.
        fields: Vec<Field>,
    },
    /// Elements back to back.
    Array {
        /// What each of them is.
        element: Box<Type>,
        /// How many there are.
        length: u32,
        /// For arrays of bytes.
        display: Display,
    },
    /// A pointer, of the host's width.
    Pointer,
    /// Bytes of which only the size is known.
    Opaque {
        /// How people want to see them.
        display: Display,
    },
}

/// How the bits of an integer are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// From zero up.
    Unsigned,
    /// Two's complement.
    Signed,
    /// Zero is false.
    Bool,
    /// A character; an array of these is text.
    Char,
}

/// How people want to see a value. Never guessed from a field's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Display {
    /// As what it is.
    #[default]
    Plain,
    /// An IPv4 address: 4 bytes in network order.
    Ipv4,
    /// An IPv6 address: 16 bytes in network order.
    Ipv6,
    /// An Ethernet address: 6 bytes.
    Mac,
    /// In hexadecimal.
    Hex,
}

/// One named number of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnumValue {
    /// As in C.
    pub name: String,
    /// Two's complement where the enum is signed.
    pub value: u64,
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Empty for an anonymous struct or union, whose fields are addressed as the parent's, and
    /// for anything else that nobody addresses: padding.
    pub name: String,
    /// What it is.
    pub ty: Type,
    /// From the start of the record, in bits. For a bitfield on a little-endian host: of its
    /// lowest bit; on a big-endian host: of its highest.
    pub bit_offset: u32,
    /// 0 for a field that is no bitfield.
    pub bit_size: u32,
}

/// In which order the bytes of numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Lowest first.
    Little,
    /// Highest first: the network's.
    Big,
}

impl ByteOrder {
    /// This host's.
    pub const HOST: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };
}

impl Type {
    /// Bytes of which only the number is known.
    pub fn opaque(size: u32) -> Self {
        Self { name: String::new(), size, kind: Kind::Opaque { display: Display::Plain } }
    }
}
