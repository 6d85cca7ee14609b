/** What a browser is to a login: cookies that no page reads, pages that take turns, and a network that comes and goes. */

/** Shared by the pages of one origin. */
export class Browser {
  /** There is no network. */
  isOffline = false;
  /** Paths that were asked for, in order, with what was said. */
  readonly asked: { path: string; body: unknown }[] = [];
  readonly #cookies = new Map<string, string>();
  #holding: { path: string; arrived: () => void; go: Promise<void> } | undefined;
  #underWay = 0;
  /** So many requests were under way at once. */
  underWayMax = 0;

  get cookies(): string[] {
    return [...this.#cookies.keys()];
  }

  /** Holds back the next answer to a request for a path: it has been given by the server once `arrived` resolves. */
  holdBack(path: string): { arrived: Promise<void>; letGo: () => void } {
    let [arrive, letGo] = [() => {}, () => {}];
    const arrived = new Promise<void>((resolve) => (arrive = resolve));
    const go = new Promise<void>((resolve) => (letGo = resolve));
    this.#holding = { path, arrived: arrive, go };
    return { arrived, letGo };
  }

  readonly fetch: typeof fetch = async (input, init) => {
    if (this.isOffline) throw new TypeError('fetch failed');
    const request = new Request(input, init);
    const { pathname: path } = new URL(request.url);
    this.asked.push({ path, body: await request.clone().json().catch(() => undefined) });
    request.headers.set('sec-fetch-site', 'same-origin');
    if (this.#cookies.size > 0) request.headers.set('cookie', [...this.#cookies].map((pair) => pair.join('=')).join('; '));
    this.underWayMax = Math.max(this.underWayMax, (this.#underWay += 1));
    try {
      const answer = await fetch(request);
      await this.#hold(path);
      for (const cookie of answer.headers.getSetCookie()) this.#store(cookie);
      return answer;
    } finally {
      this.#underWay -= 1;
    }
  };

  /** `navigator.locks`, as far as it is needed. */
  readonly locks = {
    request: <T>(name: string, act: () => Promise<T>): Promise<T> => {
      const turn = (this.#turns.get(name) ?? Promise.resolve()).then(act);
      this.#turns.set(name, turn.catch(() => {}));
      return turn;
    },
  };
  readonly #turns = new Map<string, Promise<unknown>>();

  async #hold(path: string): Promise<void> {
    const holding = this.#holding;
    if (holding?.path !== path) return;
    this.#holding = undefined;
    holding.arrived();
    await holding.go;
  }

  #store(cookie: string): void {
    const [pair = '', ...attributes] = cookie.split(';').map((part) => part.trim());
    const [name = '', value = ''] = pair.split('=');
    if (attributes.includes('Max-Age=0')) this.#cookies.delete(name);
    else this.#cookies.set(name, value);
  }
}
