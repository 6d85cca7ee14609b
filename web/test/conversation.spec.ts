/** What happens to whoever reads and writes in a conversation while others do. */

import { expect, test, type Person } from './courtyard.js';

/** Where a message of the open room is, as a link to it says. */
async function linkTo(person: Person, body: string): Promise<string> {
  const seq = await person.message(body).getAttribute('data-seq');
  return `${person.page.url()}/${seq}`;
}

test('whoever has come to a message and writes goes on writing, whatever is said meanwhile, and has read it', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  for (const body of ['one', 'two', 'three']) await minho.say(body);
  await expect(jisoo.message('three')).toBeVisible();
  const link = await linkTo(jisoo, 'two');
  await jisoo.place('Settings').click();
  await minho.say('four');
  await expect(jisoo.place('Chats')).toContainText('1');

  await jisoo.page.goto(link);
  await expect(jisoo.message('two')).toBeFocused();
  await expect(jisoo.place('Chats')).not.toContainText('1');

  await jisoo.field.pressSequentially('I am ');
  for (const body of ['five', 'six']) {
    await minho.say(body);
    await expect(jisoo.message(body)).toBeInViewport();
    await expect(jisoo.field).toBeFocused();
  }
  await jisoo.page.keyboard.type('still writing');
  await expect(jisoo.field).toHaveValue('I am still writing');
  await expect(jisoo.place('Chats')).not.toContainText(/\d/);
  await minho.say('seven');
  await expect(minho.page.getByText('Read', { exact: true })).toBeVisible();
});

test('with a finger a message is answered and liked', async ({ join }) => {
  const [jisoo, minho] = [await join('Jisoo', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }), await join('Minho')];
  await jisoo.ask(minho);
  await minho.accept(jisoo);
  await minho.open(jisoo);
  await minho.say('Shall we go?');
  await jisoo.page.getByRole('link', { name: 'Back' }).click();
  await jisoo.openRoom('Minho');
  const asked = jisoo.message('Shall we go?');
  await expect(asked).toBeVisible();
  await expect(jisoo.field, 'no keyboard hides what was said').not.toBeFocused();

  await asked.getByText('Shall we go?').tap();
  await asked.getByRole('button', { name: 'React 👍' }).tap();
  await expect(minho.message('Shall we go?').getByRole('button', { name: '👍 1' })).toBeVisible();
  await asked.getByRole('button', { name: 'Reply' }).tap();
  await jisoo.say('Yes');
  await expect(minho.message('Yes').getByRole('button', { name: /Shall we go/ })).toBeVisible();
});

test('who answers in the middle of an edit has their draft back, and who leaves the room then, too', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.say('of my own');
  await minho.say('of another');
  const act = async (body: string, name: string) => {
    await jisoo.message(body).hover();
    await jisoo.message(body).getByRole('button', { name }).click();
  };
  await expect(jisoo.messages).toHaveText([/of my own/, /of another/]);
  await jisoo.field.fill('half written');

  await act('of my own', 'Edit');
  await expect(jisoo.field).toHaveValue('of my own');
  await act('of another', 'Reply');
  await expect(jisoo.field).toHaveValue('half written');
  await jisoo.field.press('Enter');
  await expect(minho.message('half written').getByRole('button', { name: /of another/ })).toBeVisible();
  await expect(minho.messages).toHaveText([/of my own/, /of another/, /half written/]);

  await jisoo.field.fill('written later');
  await act('of my own', 'Edit');
  await expect(jisoo.field).toHaveValue('of my own');
  await jisoo.place('Settings').click();
  await jisoo.openRoom('Minho');
  await expect(jisoo.field).toHaveValue('written later');
});

test('somebody who is named with a title is meant, and whoever hears the page is told whom they choose', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.field.pressSequentially('@mi');
  const option = jisoo.page.getByRole('option', { name: /Minho/ });
  await expect(option).toHaveAttribute('aria-selected', 'true');
  await expect(jisoo.field).toHaveAttribute('aria-activedescendant', (await option.getAttribute('id'))!);
  await expect(jisoo.field).toHaveAttribute('aria-controls', (await jisoo.page.getByRole('listbox').getAttribute('id'))!);
  await jisoo.field.press('Escape');
  await expect(option).toHaveCount(0);
  await expect(jisoo.field).not.toHaveAttribute('aria-activedescendant');

  await jisoo.say('@minho님, 안녕하세요');
  await expect(minho.message('안녕하세요').locator('.mention')).toHaveText('@minho님');
});

test('today is yesterday after midnight', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await minho.say('late');
  await expect(jisoo.log.getByText('Today', { exact: true })).toBeVisible();
  const said = jisoo.page.getByTestId('rooms').locator('time');
  await expect(said).toHaveText(/:/);

  await jisoo.page.evaluate(() => {
    const now = Date.now;
    Date.now = () => now() + 86_400_000;
    document.dispatchEvent(new Event('visibilitychange'));
  });

  await expect(jisoo.log.getByText('Yesterday', { exact: true })).toBeVisible();
  await expect(jisoo.log.getByText('Today', { exact: true })).toHaveCount(0);
  await expect(said).not.toHaveText(/:/);
});

test('who hides stays hidden, in every window and after a reload, until they choose to be seen', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  const seen = (as: string) => expect(minho.page.getByRole('main').getByText(as, { exact: true })).toBeVisible({ timeout: 40_000 });
  const choice = jisoo.page.getByLabel('How others see you');
  const other = await jisoo.context.newPage();
  await other.goto(`${new URL(jisoo.page.url()).origin}/#/settings`);
  await expect(other.getByLabel('How others see you')).toHaveValue('online');
  await seen('Online');

  await jisoo.place('Settings').click();
  await choice.selectOption('invisible');
  await seen('Offline');
  await expect(other.getByLabel('How others see you')).toHaveValue('invisible');

  await other.close();
  // What is told of her from now on.
  await minho.page.evaluate(() => {
    const told: string[] = ((globalThis as { told?: string[] }).told = []);
    const header = document.querySelector('main header')!;
    new MutationObserver(() => told.push(header.textContent ?? '')).observe(header, { subtree: true, childList: true, characterData: true });
  });
  await jisoo.page.reload();
  await jisoo.isLive();
  await expect(choice).toHaveValue('invisible');
  await jisoo.openRoom('Minho');
  await jisoo.say('unseen');
  await expect(minho.message('unseen')).toBeVisible();
  await seen('Offline');
  const told = await minho.page.evaluate(() => (globalThis as { told?: string[] }).told);
  expect(told?.filter((it) => it.includes('Online'))).toEqual([]);

  await jisoo.place('Settings').click();
  await choice.selectOption('busy');
  await seen('Busy');
});
