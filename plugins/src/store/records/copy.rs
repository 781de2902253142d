//! Copies all records of a file into a server that has none.

use sqlx::AssertSqlSafe;

use super::value::{Row, Value, values};
use super::{Connection, Database, PART};
use crate::store::{PostgresStore, SqliteStore, StoreError};

/// What a column holds.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Number,
    Octets,
    Flag,
}
use Holds::{Flag, Number, Octets, Text};

/// A table of records. Whoever adds a column to one adds it here.
struct Table {
    name: &'static str,
    /// What is there in the order in which it is to be copied.
    order: &'static str,
    columns: &'static [(&'static str, Holds)],
}

/// In the order in which they refer to each other.
const TABLES: [Table; 8] = [
    Table {
        name: "account",
        order: "rowid",
        columns: &[
            ("id", Text),
            ("name", Text),
            ("name_key", Text),
            ("state", Text),
            ("idle_secs", Number),
            ("verification", Text),
            ("login_protection", Flag),
            ("operation_protection", Flag),
            ("created_ms", Number),
        ],
    },
    Table {
        name: "principal",
        order: "rowid",
        columns: &[
            ("id", Text),
            ("account_id", Text),
            ("sub_user", Text),
            ("sub_user_key", Text),
            ("display_name", Text),
            ("email", Text),
            ("phone", Text),
            ("security_email", Text),
            ("language", Text),
            ("role_list", Text),
            ("group_list", Text),
            ("state", Text),
            ("password_hash", Text),
            ("created_ms", Number),
        ],
    },
    Table { name: "secret", order: "rowid", columns: &[("name", Text), ("value", Octets)] },
    Table {
        name: "authenticator",
        order: "rowid",
        columns: &[
            ("id", Text),
            ("principal_id", Text),
            ("kind", Text),
            ("name", Text),
            ("secret", Octets),
            ("lookup", Text),
            ("counter", Number),
            ("created_ms", Number),
            ("used_ms", Number),
        ],
    },
    Table {
        name: "token",
        order: "rowid",
        columns: &[("serial", Text), ("secret", Octets), ("imported_ms", Number)],
    },
    Table {
        name: "appeal",
        order: "rowid",
        columns: &[
            ("id", Text),
            ("principal_id", Text),
            ("state", Text),
            ("sealed", Octets),
            ("created_ms", Number),
            ("decided_ms", Number),
            ("effective_ms", Number),
        ],
    },
    Table {
        name: "message",
        order: "id",
        columns: &[
            ("id", Text),
            ("channel", Text),
            ("kind", Text),
            ("body", Octets),
            ("state", Text),
            ("tries", Number),
            ("due_ms", Number),
            ("expires_ms", Number),
            ("claim", Text),
        ],
    },
    Table {
        name: "sign_in_history",
        order: "rowid",
        columns: &[
            ("principal_id", Text),
            ("at_ms", Number),
            ("address", Text),
            ("region", Text),
            ("device", Text),
            ("result", Text),
        ],
    },
];

/// Copies all records, or none. As long as it takes. Says how many of which table there were; `None`:
/// the server has some already, and nothing was copied.
///
/// # Errors
/// [`StoreError`] of either.
pub(crate) async fn copy_records(
    from: &SqliteStore,
    to: &PostgresStore,
) -> Result<Option<Vec<(&'static str, u64)>>, StoreError> {
    let copy = to.at_length(async |connection| {
        let mut connection = Connection::Postgres(connection);
        let names = TABLES.map(|table| table.name).join(", ");
        let lock = AssertSqlSafe(format!("LOCK TABLE {names} IN EXCLUSIVE MODE"));
        connection.execute(lock, values![]).await.map_err(super::failed)?;
        for table in &TABLES {
            let sql = AssertSqlSafe(format!("SELECT 1 FROM {} LIMIT 1", table.name));
            if !connection.rows(sql, values![]).await.map_err(super::failed)?.is_empty() {
                return Ok(None);
            }
        }
        let mut counts = Vec::new();
        for table in &TABLES {
            counts.push((table.name, copy_table(table, from, &mut connection).await?));
        }
        Ok(Some(counts))
    });
    copy.await
}

async fn copy_table(
    table: &Table,
    from: &SqliteStore,
    to: &mut Connection<'_>,
) -> Result<u64, StoreError> {
    let Table { name, order, columns } = table;
    let list = columns.iter().map(|(column, _)| *column).collect::<Vec<_>>().join(", ");
    let numbers = (1..=columns.len()).map(|number| format!("${number}"));
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    let insert = format!("INSERT INTO {name} ({list}) VALUES ({numbers})");
    let (mut count, mut offset) = (0, 0);
    loop {
        let select = format!("SELECT {list} FROM {name} ORDER BY {order} LIMIT $1 OFFSET $2");
        let rows =
            Database::Sqlite(from).rows(AssertSqlSafe(select), values![PART, offset]).await?;
        if rows.is_empty() {
            return Ok(count);
        }
        for row in &rows {
            let values = columns.iter().map(|(column, holds)| value(row, column, *holds));
            let values = values.collect::<Result<_, _>>()?;
            let insert = AssertSqlSafe(insert.as_str());
            count += to.execute(insert, values).await.map_err(super::failed)?;
        }
        offset += PART;
    }
}

fn value(row: &Row, column: &str, holds: Holds) -> Result<Value, StoreError> {
    Ok(match holds {
        Text => Value::Text(row.get(column)?),
        Number => Value::Number(row.get(column)?),
        Octets => Value::Octets(row.get(column)?),
        Flag => Value::Flag(row.get(column)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_column_is_left_behind() {
        let folder = std::env::temp_dir().join(format!("doorward-copy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store = SqliteStore::open(&folder.join("a.db")).await.unwrap();
        for table in TABLES {
            let sql =
                AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{}')", table.name));
            let rows = Database::Sqlite(&store).rows(sql, values![]).await.unwrap();
            let mut there: Vec<_> = rows.iter().map(|row| row.text("name").unwrap()).collect();
            let mut copied: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
            there.sort();
            copied.sort_unstable();
            assert_eq!(there, copied, "{}", table.name);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
