//! Which keys there are: the one description behind reading, defaults and the JSON Schema.

use std::time::Duration;

use crate::problem::Fault;

/// A table of the file.
pub(crate) struct TableSpec {
    /// What the table is for, one sentence.
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [Key],
}

impl TableSpec {
    pub(crate) fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A key of a table.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) presence: Presence,
    /// What the key means, one or two sentences, with its unit.
    pub(crate) doc: &'static str,
}

/// Whether a key may be left out, and what then holds.
pub(crate) enum Presence {
    /// It must be written.
    Required,
    /// It may be left out, which means something of its own (said in the key's doc).
    Optional,
    /// It may be left out; this TOML value then holds.
    Default(&'static str),
}

/// What a key takes.
pub(crate) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number, both ends included.
    Integer { least: u64, most: u64 },
    /// A time such as `"1h"`, both ends included.
    Duration { least: Duration, most: Duration },
    /// A size such as `"64KiB"`, both ends included, in bytes.
    Size { least: u64, most: u64 },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text that the function accepts.
    Text(fn(&str) -> Result<(), Fault>),
    /// A list, or one value that stands for a list of one.
    List(&'static Self),
    /// A table.
    Table(&'static TableSpec),
    /// Tables in a list (`[[name]]`), or one table that stands for a list of one.
    Tables(&'static TableSpec),
    /// Tables by names that the operator chooses (`[upstream.console]`).
    Named(&'static TableSpec),
    /// Values of one kind by names that the operator chooses (`{ X-Colour = "red" }`).
    Map(&'static Self),
}

/// A key that has to be written.
pub(crate) const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, presence: Presence::Required, doc }
}

/// A key whose absence means something of its own.
pub(crate) const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, presence: Presence::Optional, doc }
}

/// A key with a default, which is given as TOML.
pub(crate) const fn default(
    name: &'static str,
    kind: Kind,
    toml: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, kind, presence: Presence::Default(toml), doc }
}

/// A time between these, in seconds.
pub(crate) const fn seconds(least: u64, most: u64) -> Kind {
    Kind::Duration { least: Duration::from_secs(least), most: Duration::from_secs(most) }
}
