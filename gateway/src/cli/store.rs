//! `doorward store`: copies and moves what is kept.

use doorward_plugins::OpenError;

use super::arguments::Store;
use super::{Failure, load, runtime, say};

pub(super) fn run(command: Store) -> Result<(), Failure> {
    match command {
        Store::Backup { config, to } => {
            let config = load(&config)?;
            tell(runtime()?.block_on(doorward_plugins::back_up(&config, &to)))
        }
        Store::Restore { config, from } => {
            let config = load(&config)?;
            tell(runtime()?.block_on(doorward_plugins::restore(&config, &from)))
        }
        Store::Migrate { config, from } => {
            let config = load(&config)?;
            let copied = runtime()?.block_on(doorward_plugins::migrate(&config, &from));
            for (table, count) in copied.map_err(|error| Failure::Io(error.to_string()))? {
                say(&format!("{table}: {count}"));
            }
            Ok(())
        }
    }
}

fn tell(files: Result<Vec<String>, OpenError>) -> Result<(), Failure> {
    files.map_err(|error| Failure::Io(error.to_string()))?.iter().for_each(|file| say(file));
    Ok(())
}
