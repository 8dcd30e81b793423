// The browser's own database, in which unsent changes outlive the tab. Where there is none, they live in memory alone.

const DATABASE = "annotate", STORE = "outbox";
const PATIENCE_MILLISECONDS = 3000; // a browser that doesn't answer has no database

let database = null;

function opened() {
  database ??= new Promise((resolve) => {
    try {
      const request = indexedDB.open(DATABASE, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
    } catch { resolve(null); } // some private windows
    setTimeout(() => resolve(null), PATIENCE_MILLISECONDS);
  });
  return database;
}

/** Runs ask(store) in a transaction; gives its result when it is on the disk, undefined if there is no database. */
async function within(mode, ask) {
  const opening = await opened();
  if (!opening) return undefined;
  return new Promise((resolve, reject) => {
    const transaction = opening.transaction(STORE, mode);
    const request = ask(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

/** Keeps an entry, or what has changed of it: whether it is kept. */
export async function keep(entry) {
  return await within("readwrite", (store) => store.put(entry)) !== undefined;
}

export function forget(id) {
  return within("readwrite", (store) => store.delete(id));
}

/** All entries; none from a database that can't be read. */
async function everything() {
  try {
    return (await within("readonly", (store) => store.getAll())) ?? [];
  } catch {
    return [];
  }
}

// ---------------------------------------------------------------------------------------------- whose entries

/** This tab's name, and a lock of that name, which the browser lets go of when the tab ends. */
export const owner = `annotate-${Math.random().toString(36).slice(2)}`;
navigator.locks?.request(owner, () => new Promise(() => {}));

/** Takes over, one tab at a time, the entries of a project whose tabs are gone; gives them in their order. */
export async function adopt(project) {
  if (!navigator.locks) return adopted(project, new Set()); // pages that aren't served from this machine
  return navigator.locks.request("annotate-adopt", async () => {
    const { held } = await navigator.locks.query();
    return adopted(project, new Set(held.map(({ name }) => name)));
  });
}

async function adopted(project, alive) {
  const orphans = (await everything()).filter((entry) => entry.project === project && !alive.has(entry.owner) &&
    entry.owner !== owner);
  for (const entry of orphans) await keep(Object.assign(entry, { owner }));
  return orphans.sort((a, b) => a.number - b.number);
}
