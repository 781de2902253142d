//! `doorward store`: moves what is kept.

use super::arguments::Store;
use super::{Failure, load, runtime, say};

pub(super) fn run(command: Store) -> Result<(), Failure> {
    match command {
        Store::Migrate { config, from } => {
            let config = load(&config)?;
            let copied = runtime()?.block_on(doorward_plugins::migrate_records(&config, &from));
            for (table, count) in copied.map_err(|error| Failure::Io(error.to_string()))? {
                say(&format!("{table}: {count}"));
            }
            Ok(())
        }
    }
}
