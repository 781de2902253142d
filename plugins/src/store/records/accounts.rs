//! Accounts and sub-users.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;

use super::{Row, SqlRecords, Value, values};
use crate::account::name::{Name, NameKey};
use crate::account::{PrincipalRecord, Protection, State, Verification};
use crate::store::{AccountStore, StoreError, failed};

const PRINCIPAL: &str = "SELECT p.rowid, p.id, p.account_id, a.name, p.sub_user, p.display_name, p.email, p.role_list, \
     p.group_list, p.state, a.state AS account_state, a.idle_secs, a.verification, \
     a.login_protection, a.operation_protection, p.phone, p.security_email, p.language, p.created_ms, p.password_hash \
     FROM principal p JOIN account a ON a.id = p.account_id ";

#[async_trait]
impl<S: SqlRecords> AccountStore for S {
    async fn add(&self, record: &PrincipalRecord) -> Result<(), StoreError> {
        let key = record.name.key();
        let account = values![
            &record.account_id,
            record.name.account(),
            &key.account,
            record.account_state.as_str(),
            record.idle_secs,
            record.verification.as_str(),
            record.protection.login,
            record.protection.operations,
            record.created,
        ];
        let principal = values![
            &record.id,
            &record.account_id,
            record.name.sub_user(),
            &key.sub_user,
            &record.display_name,
            &record.email,
            &record.phone,
            &record.security_email,
            &record.language,
            encode(&record.roles)?,
            encode(&record.groups)?,
            record.state.as_str(),
            &record.password_hash,
            record.created,
        ];
        let is_main = record.name.sub_user().is_none();
        let write = self.database().write(async |writer| {
            if is_main {
                let sql = "INSERT INTO account (id, name, name_key, state, idle_secs, verification, login_protection, operation_protection, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
                writer.execute(sql, account).await?;
            }
            let sql = "INSERT INTO principal (id, account_id, sub_user, sub_user_key, display_name, email, phone, security_email, language, role_list, group_list, state, password_hash, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
            writer.execute(sql, principal).await.map(drop)
        });
        write.await
    }

    async fn find(&self, name: &NameKey) -> Result<Option<PrincipalRecord>, StoreError> {
        // Somebody else's row is read where there is none, so that both take the same time.
        let sql = format!(
            "SELECT 0 AS decoy, f.* FROM ({PRINCIPAL}WHERE a.name_key = $1 AND p.sub_user_key = $2) f \
             UNION ALL SELECT 1 AS decoy, o.* FROM ({PRINCIPAL}WHERE p.rowid = (SELECT MIN(rowid) FROM principal)) o \
             ORDER BY decoy LIMIT 1"
        );
        let row =
            self.database().row(AssertSqlSafe(sql), values![&name.account, &name.sub_user]).await?;
        let found = row.as_ref().map(principal).transpose()?;
        Ok(found.filter(|record| record.name.key() == *name))
    }

    async fn find_id(&self, id: &str) -> Result<Option<PrincipalRecord>, StoreError> {
        Ok(many(self, "WHERE p.id = $1", values![id]).await?.pop())
    }

    async fn list(&self) -> Result<Vec<PrincipalRecord>, StoreError> {
        let sql = "WHERE p.state <> 'deleted' AND a.state <> 'deleted' \
                   ORDER BY a.name_key, p.sub_user_key";
        many(self, sql, values![]).await
    }

    async fn each(
        &self,
        visit: &mut (dyn FnMut(PrincipalRecord) + Send),
    ) -> Result<(), StoreError> {
        let sql = format!(
            "{PRINCIPAL}WHERE p.rowid > $1 AND p.state <> 'deleted' AND a.state <> 'deleted' \
             ORDER BY p.rowid LIMIT $2"
        );
        self.database().in_parts(&sql, |row| principal(row).map(&mut *visit)).await
    }

    async fn list_account(&self, account_id: &str) -> Result<Vec<PrincipalRecord>, StoreError> {
        let sql = "WHERE p.account_id = $1 AND p.state <> 'deleted' ORDER BY p.sub_user_key";
        many(self, sql, values![account_id]).await
    }

    async fn find_address(&self, address: &str) -> Result<Vec<PrincipalRecord>, StoreError> {
        // Each part has an index of its own. Both databases make ASCII letters small, as here.
        let sql = "WHERE p.rowid IN (SELECT rowid FROM principal WHERE phone = $1 \
                   UNION SELECT rowid FROM principal WHERE lower(email) = $2 AND email IS NOT NULL \
                   UNION SELECT rowid FROM principal WHERE lower(security_email) = $2 AND security_email IS NOT NULL) \
                   AND p.state <> 'deleted' AND a.state <> 'deleted' \
                   ORDER BY p.sub_user IS NOT NULL, a.name_key, p.sub_user_key LIMIT 500";
        many(self, sql, values![address, address.to_ascii_lowercase()]).await
    }

    async fn update(
        &self,
        was: &PrincipalRecord,
        record: &PrincipalRecord,
    ) -> Result<(), StoreError> {
        let in_principal = values![
            &record.display_name,
            &record.email,
            &record.phone,
            &record.security_email,
            &record.language,
            encode(&record.roles)?,
            encode(&record.groups)?,
            &record.id,
        ];
        let in_account = values![
            record.idle_secs,
            record.verification.as_str(),
            record.protection.login,
            record.protection.operations,
            &record.account_id,
        ];
        let read = AssertSqlSafe(format!("{PRINCIPAL}WHERE p.id = $1"));
        let write = self.database().write(async |writer| {
            writer.lock("account", &record.account_id).await?;
            let rows = writer.rows(read, values![&record.id]).await?;
            let now = rows.first().and_then(|row| principal(row).ok());
            if !now.is_some_and(|now| is_as_it_was(now, was)) {
                return Ok(false);
            }
            let sql = "UPDATE principal SET display_name = $1, email = $2, phone = $3, security_email = $4, language = $5, role_list = $6, group_list = $7 WHERE id = $8";
            writer.execute(sql, in_principal).await?;
            let sql = "UPDATE account SET idle_secs = $1, verification = $2, login_protection = $3, operation_protection = $4 WHERE id = $5";
            writer.execute(sql, in_account).await?;
            Ok(true)
        });
        if write.await? { Ok(()) } else { Err(StoreError::Changed) }
    }

    async fn set_state(&self, record: &PrincipalRecord, state: State) -> Result<(), StoreError> {
        let (sql, id) = match record.name.sub_user() {
            None => ("UPDATE account SET state = $1 WHERE id = $2", &record.account_id),
            Some(_) => ("UPDATE principal SET state = $1 WHERE id = $2", &record.id),
        };
        self.database().execute(sql, values![state.as_str(), id]).await.map(drop)
    }

    async fn set_password(
        &self,
        id: &str,
        was: Option<&str>,
        hash: &str,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE principal SET password_hash = $1 \
                   WHERE id = $2 AND ($3 IS NULL OR password_hash = $3)";
        let changed = self.database().execute(sql, values![hash, id, was]).await?;
        if changed == 0 && was.is_some() { Err(StoreError::Changed) } else { Ok(()) }
    }

    async fn secret(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        // Who comes second waits for the first, whichever gate that is, and then reads its value.
        let sql = "INSERT INTO secret (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        self.database().execute(sql, values![name, fresh]).await?;
        let sql = "SELECT value FROM secret WHERE name = $1";
        let row = self.database().row(sql, values![name]).await?;
        row.ok_or(StoreError::Corrupt("secret"))?.octets("value")
    }
}

/// But for what an update does not write.
fn is_as_it_was(now: PrincipalRecord, was: &PrincipalRecord) -> bool {
    let PrincipalRecord { state, account_state, ref password_hash, .. } = *was;
    *was == PrincipalRecord { state, account_state, password_hash: password_hash.clone(), ..now }
}

async fn many(
    store: &impl SqlRecords,
    condition: &str,
    values: Vec<Value>,
) -> Result<Vec<PrincipalRecord>, StoreError> {
    let sql = AssertSqlSafe(format!("{PRINCIPAL}{condition}"));
    store.database().rows(sql, values).await?.iter().map(principal).collect()
}

fn principal(row: &Row) -> Result<PrincipalRecord, StoreError> {
    let corrupt = || StoreError::Corrupt("principal");
    let list = |column: &str| serde_json::from_str(&row.text(column)?).map_err(|_| corrupt());
    let state = |column: &str| State::parse(&row.text(column)?).ok_or_else(corrupt);
    let sub_user = row.optional_text("sub_user")?;
    Ok(PrincipalRecord {
        id: row.text("id")?,
        account_id: row.text("account_id")?,
        name: Name::new(&row.text("name")?, sub_user.as_deref()).map_err(|_| corrupt())?,
        display_name: row.optional_text("display_name")?,
        email: row.optional_text("email")?,
        phone: row.optional_text("phone")?,
        security_email: row.optional_text("security_email")?,
        language: row.optional_text("language")?,
        roles: list("role_list")?,
        groups: list("group_list")?,
        state: state("state")?,
        account_state: state("account_state")?,
        idle_secs: row.optional_number("idle_secs")?,
        verification: Verification::parse(&row.text("verification")?).ok_or_else(corrupt)?,
        protection: Protection {
            login: row.get("login_protection")?,
            operations: row.get("operation_protection")?,
        },
        created: row.time("created_ms")?,
        password_hash: row.text("password_hash")?,
    })
}

fn encode(list: &[String]) -> Result<String, StoreError> {
    serde_json::to_string(list).map_err(failed)
}
