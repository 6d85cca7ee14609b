/** Pictures for messages: kept by the server first, then named in what is sent. */

import type { Attachment, Rest } from '@madang/client';

export async function uploadPicture(rest: Rest, room: string, file: File): Promise<Attachment> {
  const { data } = await rest.POST('/v1/chat/rooms/{id}/images', {
    params: { path: { id: room }, query: { name: file.name } },
    headers: { 'content-type': file.type },
    body: file as never,
    bodySerializer: (body: unknown) => body as Blob,
  });
  return data!;
}
