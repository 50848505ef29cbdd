// The page: two phones on one world, kept up to date by one stream of events.

import { api, listen } from "./api.js";
import { icon } from "./dom.js";
import { Phone } from "./phone.js";

const byId = (id) => document.getElementById(id);
const wide = matchMedia("(min-width: 760px)");
const query = new URLSearchParams(location.search); // ?contact=ID&theme=dark&tab=owner

class World {
  async load() {
    const world = await api.world();
    this.owner = world.owner;
    this.bots = world.bots;
    this.contacts = world.contacts;
    this.accounts = new Map(world.accounts.map((account) => [account.id, account]));
    this.groups = new Map(world.groups.map((group) => [group.id, group]));
    this.connections = new Map(world.connections.map((connection) => [connection.id, connection]));
    this.menus = new Map(world.commands.map(({ bot, account, commands }) => [`${bot}-${account}`, commands]));
    this.stream = world.stream;
  }

  peerOf(id) {
    return this.accounts.get(id) || this.groups.get(id) || { id, name: `Account ${id}`, is_bot: false };
  }

  // An account's own menu hides the bot's menu for everybody; an empty one does not.
  commandsFor(bot, account) {
    const own = this.menus.get(`${bot}-${account}`);
    return own?.length ? own : this.menus.get(`${bot}-null`) || [];
  }

  connectionOf(account) {
    return [...this.connections.values()].find((connection) => connection.account === account && connection.enabled);
  }

  handle(event) {
    if (event.type === "connection") this.connections.set(event.connection.id, event.connection);
    if (event.type === "commands") this.menus.set(`${event.bot}-${event.account}`, event.commands);
    if (event.type === "account") this.accounts.set(event.account.id, event.account);
    if (event.type === "member") this.groups.set(event.group.id, event.group);
  }
}

async function start() {
  setUpTheme();
  const world = new World();
  await world.load();
  const phones = {};
  const shown = (name) => () => wide.matches || byId(`phone-${name}`).classList.contains("current");
  for (const name of ["contact", "owner"])
    phones[name] = new Phone(byId(`phone-${name}`).querySelector(".phone"), world, {
      isOwner: name === "owner",
      isShown: shown(name),
      onUnread: (count) => markTab(name, count),
    });
  setUpTabs(phones);
  const filled = fill(world, phones);
  listenTo(world, phones, filled); // from the event after which `world` was read, so that nothing falls between
  await filled;
}

function listenTo(world, phones, filled) {
  const state = byId("link-state");
  const all = Object.values(phones);
  const handle = (event) => {
    if (event.type === "reset") {
      world.load().then(() => Promise.all(all.map((phone) => phone.reload()))).catch((error) => phones.owner.say(error.message));
      return;
    }
    world.handle(event);
    for (const phone of all) phone.handle(event);
  };
  listen(world.stream, handle, async (up) => {
    if (up) await filled;
    state.textContent = up ? "live" : "reconnecting…";
    state.dataset.up = String(up);
  });
}

async function fill(world, phones) {
  const picker = byId("contact-picker");
  for (const id of world.contacts) picker.append(new Option(world.peerOf(id).name, String(id)));
  const asked = Number(query.get("contact"));
  const contact = world.contacts.includes(asked) ? asked : world.contacts[0];
  picker.value = String(contact);
  picker.addEventListener("change", () => {
    query.set("contact", picker.value);
    history.replaceState(null, "", `?${query}`);
    phones.contact.setAccount(Number(picker.value), world.bots[0] ?? world.owner);
  });
  byId("owner-name").textContent = world.peerOf(world.owner).name;
  if (contact !== undefined) await phones.contact.setAccount(contact, world.bots[0] ?? world.owner);
  await phones.owner.setAccount(world.owner, world.bots[0] ?? null);
}

function markTab(name, count) {
  const dot = byId(`tab-${name}`).querySelector(".dot");
  if (dot) dot.hidden = count === 0;
}

function setUpTabs(phones) {
  const choose = (name) => {
    for (const other of ["contact", "owner"]) {
      byId(`tab-${other}`).setAttribute("aria-selected", String(other === name));
      byId(`phone-${other}`).classList.toggle("current", other === name);
    }
    phones[name].chat.toBottom();
  };
  byId("tab-contact").addEventListener("click", () => choose("contact"));
  byId("tab-owner").addEventListener("click", () => choose("owner"));
  choose(query.get("tab") === "owner" ? "owner" : "contact");
  document.addEventListener("visibilitychange", () => Object.values(phones).forEach((phone) => phone.markRead()));
}

function setUpTheme() {
  const root = document.documentElement;
  const toggle = byId("theme-toggle");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const draw = () => toggle.replaceChildren(icon(dark() ? "sun" : "moon"));
  const kept = query.get("theme") || localStorage.getItem("theme");
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  toggle.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    draw();
  });
  system.addEventListener("change", draw);
  draw();
}

start().catch((error) => {
  byId("link-state").textContent = error.message;
});
