//! Accounts and sub-users in SQLite.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, failed, in_time, signed, time};
use crate::account::name::{Name, NameKey};
use crate::account::{PrincipalRecord, Protection, State, Verification};
use crate::store::{AccountStore, StoreError};

const PRINCIPAL: &str = "SELECT p.rowid, p.id, p.account_id, a.name, p.sub_user, p.display_name, p.email, p.role_list, \
     p.group_list, p.state, a.state AS account_state, a.idle_secs, a.verification, \
     a.login_protection, a.operation_protection, p.phone, p.security_email, p.language, p.created_ms, p.password_hash \
     FROM principal p JOIN account a ON a.id = p.account_id ";

#[async_trait]
impl AccountStore for SqliteStore {
    async fn add(&self, record: &PrincipalRecord) -> Result<(), StoreError> {
        let key = record.name.key();
        let (roles, groups) = (encode(&record.roles)?, encode(&record.groups)?);
        self.write(async |writer| {
            if record.name.sub_user().is_none() {
                sqlx::query("INSERT INTO account (id, name, name_key, state, idle_secs, verification, login_protection, operation_protection, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
                    .bind(&record.account_id)
                    .bind(record.name.account())
                    .bind(&key.account)
                    .bind(record.account_state.as_str())
                    .bind(record.idle_secs.map(signed))
                    .bind(record.verification.as_str())
                    .bind(record.protection.login)
                    .bind(record.protection.operations)
                    .bind(signed(record.created.0))
                    .execute(&mut *writer)
                    .await?;
            }
            sqlx::query("INSERT INTO principal (id, account_id, sub_user, sub_user_key, display_name, email, phone, security_email, language, role_list, group_list, state, password_hash, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(&record.id)
                .bind(&record.account_id)
                .bind(record.name.sub_user())
                .bind(&key.sub_user)
                .bind(&record.display_name)
                .bind(&record.email)
                .bind(&record.phone)
                .bind(&record.security_email)
                .bind(&record.language)
                .bind(roles)
                .bind(groups)
                .bind(record.state.as_str())
                .bind(&record.password_hash)
                .bind(signed(record.created.0))
                .execute(&mut *writer)
                .await?;
            Ok(())
        })
        .await
    }

    async fn find(&self, name: &NameKey) -> Result<Option<PrincipalRecord>, StoreError> {
        // Somebody else's row is read where there is none, so that both take the same time.
        let sql = "WHERE a.name_key = ? AND p.sub_user_key = ? UNION ALL ";
        let sql =
            format!("{sql}{PRINCIPAL}WHERE p.rowid = (SELECT MIN(rowid) FROM principal) LIMIT 1");
        let found = self.one(&sql, &[&name.account, &name.sub_user]).await?;
        Ok(found.filter(|record| record.name.key() == *name))
    }

    async fn find_id(&self, id: &str) -> Result<Option<PrincipalRecord>, StoreError> {
        self.one("WHERE p.id = ?", &[id]).await
    }

    async fn list(&self) -> Result<Vec<PrincipalRecord>, StoreError> {
        self.many("WHERE p.state <> 'deleted' AND a.state <> 'deleted' ORDER BY a.name_key, p.sub_user_key", &[]).await
    }

    async fn each(
        &self,
        visit: &mut (dyn FnMut(PrincipalRecord) + Send),
    ) -> Result<(), StoreError> {
        let sql = format!(
            "{PRINCIPAL}WHERE p.rowid > ? AND p.state <> 'deleted' AND a.state <> 'deleted' \
             ORDER BY p.rowid LIMIT ?"
        );
        self.in_parts(sql, |row| principal(row).map(&mut *visit)).await
    }

    async fn list_account(&self, account_id: &str) -> Result<Vec<PrincipalRecord>, StoreError> {
        self.many(
            "WHERE p.account_id = ? AND p.state <> 'deleted' ORDER BY p.sub_user_key",
            &[account_id],
        )
        .await
    }

    async fn find_address(&self, address: &str) -> Result<Vec<PrincipalRecord>, StoreError> {
        // Each part has an index of its own.
        let sql = "WHERE p.rowid IN (SELECT rowid FROM principal WHERE phone = ? \
                   UNION SELECT rowid FROM principal WHERE lower(email) = lower(?) AND email IS NOT NULL \
                   UNION SELECT rowid FROM principal WHERE lower(security_email) = lower(?) AND security_email IS NOT NULL) \
                   AND p.state <> 'deleted' AND a.state <> 'deleted' \
                   ORDER BY p.sub_user IS NOT NULL, a.name_key, p.sub_user_key LIMIT 500";
        self.many(sql, &[address, address, address]).await
    }

    async fn update(&self, record: &PrincipalRecord) -> Result<(), StoreError> {
        let (roles, groups) = (encode(&record.roles)?, encode(&record.groups)?);
        self.write(async |writer| {
            sqlx::query("UPDATE principal SET display_name = ?, email = ?, phone = ?, security_email = ?, language = ?, role_list = ?, group_list = ? WHERE id = ?")
                .bind(&record.display_name)
                .bind(&record.email)
                .bind(&record.phone)
                .bind(&record.security_email)
                .bind(&record.language)
                .bind(roles)
                .bind(groups)
                .bind(&record.id)
                .execute(&mut *writer)
                .await?;
            sqlx::query("UPDATE account SET idle_secs = ?, verification = ?, login_protection = ?, operation_protection = ? WHERE id = ?")
                .bind(record.idle_secs.map(signed))
                .bind(record.verification.as_str())
                .bind(record.protection.login)
                .bind(record.protection.operations)
                .bind(&record.account_id)
                .execute(&mut *writer)
                .await?;
            Ok(())
        })
        .await
    }

    async fn set_state(&self, record: &PrincipalRecord, state: State) -> Result<(), StoreError> {
        let (sql, id) = match record.name.sub_user() {
            None => ("UPDATE account SET state = ? WHERE id = ?", &record.account_id),
            Some(_) => ("UPDATE principal SET state = ? WHERE id = ?", &record.id),
        };
        let query = sqlx::query(sql).bind(state.as_str()).bind(id);
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }

    async fn set_password(&self, id: &str, hash: &str) -> Result<(), StoreError> {
        let query =
            sqlx::query("UPDATE principal SET password_hash = ? WHERE id = ?").bind(hash).bind(id);
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }

    async fn secret(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        let insert =
            sqlx::query("INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(name)
                .bind(fresh);
        self.write(async |writer| insert.execute(writer).await.map(drop)).await?;
        let select = sqlx::query_scalar("SELECT value FROM secret WHERE name = ?").bind(name);
        in_time(select.fetch_one(&self.readers)).await
    }
}

impl SqliteStore {
    async fn one(
        &self,
        condition: &str,
        values: &[&str],
    ) -> Result<Option<PrincipalRecord>, StoreError> {
        Ok(self.many(condition, values).await?.pop())
    }

    async fn many(
        &self,
        condition: &str,
        values: &[&str],
    ) -> Result<Vec<PrincipalRecord>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{PRINCIPAL}{condition}"));
        let mut query = sqlx::query(sql);
        for value in values {
            query = query.bind((*value).to_owned());
        }
        let rows = in_time(query.fetch_all(&self.readers)).await?;
        rows.iter().map(principal).collect()
    }
}

fn principal(row: &SqliteRow) -> Result<PrincipalRecord, StoreError> {
    let corrupt = || StoreError::Corrupt("principal");
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    let optional = |column: &str| row.try_get::<Option<String>, _>(column).map_err(failed);
    let list = |column: &str| serde_json::from_str(&text(column)?).map_err(|_| corrupt());
    let state = |column: &str| State::parse(&text(column)?).ok_or_else(corrupt);
    Ok(PrincipalRecord {
        id: text("id")?,
        account_id: text("account_id")?,
        name: Name::new(&text("name")?, optional("sub_user")?.as_deref()).map_err(|_| corrupt())?,
        display_name: optional("display_name")?,
        email: optional("email")?,
        phone: optional("phone")?,
        security_email: optional("security_email")?,
        language: optional("language")?,
        roles: list("role_list")?,
        groups: list("group_list")?,
        state: state("state")?,
        account_state: state("account_state")?,
        idle_secs: row
            .try_get::<Option<i64>, _>("idle_secs")
            .map_err(failed)?
            .map(i64::unsigned_abs),
        verification: Verification::parse(&text("verification")?).ok_or_else(corrupt)?,
        protection: Protection {
            login: row.try_get("login_protection").map_err(failed)?,
            operations: row.try_get("operation_protection").map_err(failed)?,
        },
        created: time(row, "created_ms")?,
        password_hash: text("password_hash")?,
    })
}

fn encode(list: &[String]) -> Result<String, StoreError> {
    serde_json::to_string(list).map_err(failed)
}
