//! What payees have when a run begins: earned and settled before anybody looked. Written as the ledger would have.

use anyhow::ensure;
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use crate::database::{Connection, execute};

pub const CURRENCY: &str = "KRW";
const BANK: &str = "bank:operating";
const SINCE: i64 = 0x0190_0000_0000;

/// Puts so much into the wallet of each.
pub async fn give(db: &mut Connection, payees: &[Uuid], amount: i64) -> anyhow::Result<()> {
    let all = amount * i64::try_from(payees.len())?;
    execute!(db, "BEGIN");
    insert_account(db, BANK, "asset", None, (all, 0)).await?;
    for payee in payees {
        let code = format!("user:{payee}:available");
        insert_account(db, &code, "liability", Some(*payee), (0, amount)).await?;
        let key = format!("opening:{payee}");
        let entry = id_of(&key);
        let booked = execute!(
            db,
            "INSERT INTO ledger_entries
                 (id, key, fingerprint, kind, reference_kind, reference_id, actor, at)
             VALUES ($1, $2, $3, 'opening', 'user', $4, 'bench', $5)",
            entry,
            key.as_str(),
            Sha256::digest(&key).to_vec(),
            *payee,
            SINCE,
        );
        ensure!(booked == 1, "nothing was booked");
        execute!(
            db,
            "INSERT INTO ledger_transfers
                 (id, entry_id, line, phase, debit_id, credit_id, currency, amount, code, at)
             VALUES ($1, $2, 0, 'single', $3, $4, $5, $6, 'opening', $7)",
            id_of(&format!("{key}:0")),
            entry,
            account_id(BANK),
            account_id(&code),
            CURRENCY,
            amount,
            SINCE,
        );
    }
    execute!(db, "COMMIT");
    Ok(())
}

/// With what was debited and credited so far.
async fn insert_account(
    db: &mut Connection,
    code: &str,
    kind: &str,
    owner: Option<Uuid>,
    (debits, credits): (i64, i64),
) -> anyhow::Result<()> {
    let guard = if owner.is_some() { "debits_lte_credits" } else { "none" };
    execute!(
        db,
        "INSERT INTO ledger_accounts
             (id, code, family, kind, currency, owner_id, guard, debits_posted, credits_posted,
              created_at)
         VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9)",
        account_id(code),
        code,
        kind,
        CURRENCY,
        owner,
        guard,
        debits,
        credits,
        SINCE,
    );
    Ok(())
}

/// An account's id follows from its name.
fn account_id(code: &str) -> Uuid {
    id_of(&format!("{CURRENCY} {code}"))
}

fn id_of(text: &str) -> Uuid {
    let mut bytes = [0; 16];
    for (byte, hashed) in bytes.iter_mut().zip(Sha256::digest(text)) {
        *byte = hashed;
    }
    Builder::from_custom_bytes(bytes).into_uuid()
}
