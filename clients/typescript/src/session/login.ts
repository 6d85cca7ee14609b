/** A login as it is kept with its refresh token, and where: for this page, or where the next one finds it. */

export interface Account {
  id: string;
  handle: string;
  display_name: string;
  [more: string]: unknown;
}

export interface Login {
  user: Account;
  access_token: string;
  refresh_token: string;
  /** When the access token ends, epoch milliseconds. */
  expires_at: number;
}

/** Where a login is kept. */
export interface LoginStorage {
  load(): Login | undefined;
  save(login: Login | undefined): void;
  /** Tells when another page has logged somebody in or out; gives what ends that. Without it, nobody else has the storage. */
  watch?(listener: () => void): () => void;
}

/** Forgets with the page. */
export class MemoryLogin implements LoginStorage {
  #login: Login | undefined;

  load(): Login | undefined {
    return this.#login;
  }

  save(login: Login | undefined): void {
    this.#login = login;
  }
}

/** Keeps it in `localStorage` or `sessionStorage`, where any script of the page reads it. */
export class WebStorageLogin implements LoginStorage {
  constructor(
    private readonly storage: Storage,
    private readonly name = 'madang.login',
  ) {}

  load(): Login | undefined {
    return parse(this.storage.getItem(this.name));
  }

  save(login: Login | undefined): void {
    if (login) this.storage.setItem(this.name, JSON.stringify(login));
    else this.storage.removeItem(this.name);
  }

  watch(listener: () => void): () => void {
    const onStorage = ({ storageArea, key, oldValue, newValue }: StorageEvent) => {
      if (storageArea !== this.storage) return;
      // Without a name, everything was cleared. Who renews saves as well, and is the same user.
      const isAnother = parse(oldValue)?.user.id !== parse(newValue)?.user.id;
      if (key === null || (key === this.name && isAnother)) listener();
    };
    globalThis.addEventListener?.('storage', onStorage);
    return () => globalThis.removeEventListener?.('storage', onStorage);
  }
}

function parse(kept: string | null): Login | undefined {
  return kept === null ? undefined : (JSON.parse(kept) as Login);
}
