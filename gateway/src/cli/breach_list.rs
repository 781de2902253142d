//! `doorward breach-list`: makes and asks lists of passwords that were found in breaches.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use doorward_plugins::account::rules::Weakness;
use doorward_plugins::account::rules::breach_list::{self, BreachListError, Lines, MakeError};

use super::arguments::BreachList;
use super::{Failure, password, say};

pub(super) fn run(command: BreachList) -> Result<(), Failure> {
    match command {
        BreachList::Make { input, output, passwords } => {
            make(&input, &output, if passwords { Lines::Passwords } else { Lines::Hashes })
        }
        BreachList::Check { file, password_stdin } => {
            let list = open(&file)?;
            match list.contains(&password::read(password_stdin)?)? {
                true => Err(Failure::Refuse(Weakness::Breached.to_string())),
                false => {
                    say("the password is not in the list");
                    Ok(())
                }
            }
        }
        BreachList::Verify { file } => {
            let list = open(&file)?;
            if !list.is_whole()? {
                return Err(Failure::Refuse(format!("{} is damaged", file.display())));
            }
            say(&format!("{}: {} passwords, as it was made", file.display(), list.count()));
            Ok(())
        }
    }
}

fn make(input: &Path, output: &Path, lines: Lines) -> Result<(), Failure> {
    let reader: Box<dyn BufRead> = if input == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file = File::open(input);
        let file = file.map_err(|error| Failure::Io(format!("{}: {error}", input.display())))?;
        Box::new(BufReader::new(file))
    };
    let made = breach_list::make(reader, lines, output).map_err(|error| match error {
        MakeError::Io(error) => Failure::Io(format!("{}: {error}", output.display())),
        error => Failure::Refuse(format!("{}: {error}; nothing was made", input.display())),
    })?;
    say(&format!("{}: {} passwords of {} lines", output.display(), made.count, made.lines));
    Ok(())
}

fn open(file: &Path) -> Result<breach_list::BreachList, Failure> {
    breach_list::BreachList::open(file).map_err(|error| match error {
        BreachListError::Io(..) => Failure::Io(error.to_string()),
        BreachListError::Damaged(..) => Failure::Refuse(error.to_string()),
    })
}
