//! What an operator gives as somebody's password: a new one, or the hash of an old one.

use doorward_config::Secret;

use super::{AdminError, Administration};
use crate::account::PrincipalRecord;
use crate::account::password::ImportedHash;
use crate::account::rules::RuleError;

impl From<RuleError> for AdminError {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::Weak(weakness) => Self::Refuse(weakness.to_string()),
            RuleError::Unavailable(_) => Self::Failed(error.to_string()),
        }
    }
}

/// What is to be somebody's password.
pub(super) enum NewPassword {
    /// A password, which has to keep the rules.
    Typed(Secret),
    /// The hash of one that another system accepted.
    Imported(Box<ImportedHash>),
}

impl NewPassword {
    pub(super) fn import(hash: &str) -> Result<Self, AdminError> {
        let hash = ImportedHash::parse(hash).map_err(AdminError::Refuse)?;
        Ok(Self::Imported(Box::new(hash)))
    }
}

impl Administration {
    /// What to store for a new password, if it may be one.
    pub(super) async fn hash(
        &self,
        password: &NewPassword,
        about: &PrincipalRecord,
    ) -> Result<String, AdminError> {
        let password = match password {
            NewPassword::Imported(hash) => return Ok(hash.to_stored()),
            NewPassword::Typed(password) => password,
        };
        self.password_rules.verify_new(password, about).await?;
        self.hasher.hash(password).await.map_err(|error| AdminError::Failed(error.to_string()))
    }
}
