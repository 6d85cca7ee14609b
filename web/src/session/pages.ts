/** Lists that the server gives a page at a time. */

interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

interface Query {
  limit: number;
  cursor?: string;
}

/** A list as far as it was read. */
export interface Pages<T> {
  items: T[];
  hasMore: boolean;
}

/** Reads a list from its beginning, page by page, until there are `count` items or no more. */
export async function readPages<T>(limit: number, count: number, read: (query: Query) => Promise<{ data?: Page<T> }>): Promise<Pages<T>> {
  const items: T[] = [];
  for (let cursor: string | undefined; ; ) {
    const { data } = await read(cursor === undefined ? { limit } : { limit, cursor });
    items.push(...(data?.items ?? []));
    cursor = data?.next_cursor ?? undefined;
    if (cursor === undefined || items.length >= count) return { items, hasMore: cursor !== undefined };
  }
}
