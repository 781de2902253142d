//! Forgotten names: told to whoever proves an address by a code.

use std::sync::Arc;

use doorward_config::Secret;
use serde::{Deserialize, Serialize};

use super::{Recovery, RecoveryError, id};
use crate::account::PrincipalRecord;
use crate::account::address::AddressKind;
use crate::account::name::Name;
use crate::audit::{Event, EventKind};
use crate::challenge::Purpose;
use crate::code::{self, Destination};
use crate::language::Language;
use crate::password_check::Guesser;

/// Whose names are wanted. The browser keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Finding {
    place: String,
    code_id: String,
}

impl Purpose for Finding {
    const NAME: &'static str = "find-account";
}

impl Recovery {
    /// Sends a code to a phone or an e-mail address, if it is anybody's, behind the answer. Gives a
    /// ticket.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub async fn find_names(
        &self,
        typed: &str,
        browser: &str,
        (language, guesser): (Language, Guesser<'_>),
    ) -> Result<String, RecoveryError> {
        let place = read(typed).ok_or(RecoveryError::Malformed)?;
        let finding = Finding { place: place.as_str().to_owned(), code_id: id()? };
        let accounts = Arc::clone(&self.accounts);
        let of = (code::Purpose::FindAccount, finding.code_id.clone());
        let wanted = async move {
            let holders = accounts.find_address(place.as_str()).await?;
            Ok(holders.iter().any(PrincipalRecord::is_active).then_some(place))
        };
        self.send_behind(wanted, of, (language, guesser)).await?;
        let event = Event::new(EventKind::RecoveryAsked).with("for", "names");
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
        self.write(browser, finding)
    }

    /// Takes the code, and tells the names.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub async fn names(
        &self,
        (ticket, browser): (&str, &str),
        code: &Secret,
        guesser: Guesser<'_>,
    ) -> Result<Vec<Name>, RecoveryError> {
        let finding: Finding = self.read(ticket, browser)?;
        let proved = self.codes.verify(code::Purpose::FindAccount, &finding.code_id, code).await?;
        if proved.is_none_or(|place| place.as_str() != finding.place) {
            let event = Event::new(EventKind::RecoveryFail).with("for", "names");
            self.audit.record(&event.from_request(guesser.address, guesser.request_id));
            return Err(RecoveryError::Wrong);
        }
        let mut holders = self.accounts.find_address(&finding.place).await?;
        holders.retain(PrincipalRecord::is_active);
        Ok(holders.into_iter().map(|holder| holder.name).collect())
    }
}

/// An e-mail address or a phone.
fn read(typed: &str) -> Option<Destination> {
    AddressKind::Email.read(typed).or_else(|| AddressKind::Phone.read(typed))
}
