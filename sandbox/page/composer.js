// The line at the bottom of a chat: text, files, the bot's commands, and the reply or edit that is under way.

import { api } from "./api.js";
import { button, el, icon } from "./dom.js";
import { preview } from "./words.js";

const TYPING_EVERY_MS = 4000;
const LARGEST_FILE = 20 * 1024 * 1024;

export class Composer {
  // chat: {account, other, commands(), lastOwn(), peerOf(id), say(text)}
  constructor(chat) {
    this.chat = chat;
    this.mode = null; // {kind: "reply" | "edit", message}
    this.kept = new Map(); // chat -> text that was not sent
    this.typedAt = 0;
    this.banner = el("div", { class: "banner", testid: "composer-banner", hidden: true });
    this.list = el("ul", { class: "commands", testid: "commands", hidden: true });
    this.input = el("textarea", {
      rows: "1", testid: "composer-input", dir: "auto", placeholder: "Message", "aria-label": "Message", maxlength: "4096", enterkeyhint: "send",
      oninput: () => this.onInput(),
      onkeydown: (event) => this.onKey(event),
      onpaste: (event) => this.onPaste(event),
    });
    this.file = el("input", { type: "file", hidden: true, testid: "file-input", "aria-label": "File", onchange: () => this.sendFiles(this.file.files) });
    this.slash = button("Commands", "slash", { class: "round slash", testid: "commands-button", onclick: () => this.toggleCommands() });
    this.go = button("Send", "send", { class: "round go", testid: "send", onclick: () => this.send() });
    this.root = el(
      "div",
      { class: "composer" },
      this.list,
      this.banner,
      el("div", { class: "line" }, button("Attach a picture or file", "attach", { testid: "attach", onclick: () => this.file.click() }), el("div", { class: "field" }, this.input, this.slash), this.go),
      this.file,
    );
    document.addEventListener("pointerdown", (event) => {
      if (!this.root.contains(event.target)) this.list.hidden = true;
    });
    this.root.addEventListener("dragover", (event) => event.preventDefault());
    this.root.addEventListener("drop", (event) => {
      event.preventDefault();
      this.sendFiles(event.dataTransfer.files);
    });
  }

  // Another chat is shown (or none: null).
  open(key) {
    if (this.key) this.kept.set(this.key, this.mode?.kind === "edit" ? "" : this.input.value);
    this.key = key;
    this.setMode(null);
    this.input.value = this.kept.get(key) || "";
    this.refresh();
  }

  refresh() {
    this.slash.hidden = this.chat.commands().length === 0;
    if (this.slash.hidden) this.list.hidden = true;
    this.go.disabled = !this.input.value.trim();
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight, 140)}px`;
  }

  onInput() {
    this.refresh();
    const word = /^\/(\w*)$/.exec(this.input.value);
    this.showCommands(word ? word[1] : null);
    if (this.input.value.trim() && Date.now() - this.typedAt > TYPING_EVERY_MS) {
      this.typedAt = Date.now();
      this.attempt(() => api.typing(this.chat.account, this.chat.other));
    }
  }

  onKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.send();
    } else if (event.key === "Escape") {
      if (!this.list.hidden) this.list.hidden = true;
      else if (this.mode) this.setMode(null, "");
    } else if (event.key === "ArrowUp" && !this.input.value && this.chat.lastOwn()) {
      event.preventDefault();
      this.setMode({ kind: "edit", message: this.chat.lastOwn() });
    }
  }

  onPaste(event) {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    this.sendFiles(event.clipboardData.files);
  }

  setMode(mode, text) {
    const wasEdit = this.mode?.kind === "edit";
    this.mode = mode;
    this.banner.hidden = !mode;
    this.banner.replaceChildren();
    if (mode) {
      const title = mode.kind === "edit" ? "Edit message" : `Reply to ${this.chat.peerOf(mode.message.from).name}`;
      this.banner.append(
        icon(mode.kind === "edit" ? "pencil" : "reply"),
        el("div", {}, el("strong", { dir: "auto" }, title), el("span", { dir: "auto" }, preview(mode.message))),
        button("Cancel", "close", { testid: "composer-cancel", onclick: () => this.setMode(null, mode.kind === "edit" ? "" : undefined) }),
      );
      this.input.focus();
    }
    if (mode?.kind === "edit") this.input.value = mode.message.text;
    else if (text !== undefined || wasEdit) this.input.value = text || "";
    this.refresh();
  }

  async send() {
    const text = this.input.value.trim();
    if (!text) return;
    const mode = this.mode;
    const { account, other } = this.chat;
    this.input.value = "";
    this.typedAt = 0;
    this.list.hidden = true;
    this.setMode(null);
    const sent =
      mode?.kind === "edit"
        ? await this.attempt(() => (text === mode.message.text ? null : api.edit(account, mode.message.uid, text)))
        : await this.attempt(() => api.send({ from: account, to: other, text, reply_to: mode ? mode.message.uid : null }));
    if (!sent && !this.input.value) {
      this.input.value = text; // not lost: it can be tried again
      this.refresh();
    }
  }

  async sendFiles(files) {
    const { account, other } = this.chat;
    for (const file of files) {
      if (file.size > LARGEST_FILE) {
        this.chat.say("A file may have 20 MB at most.");
        continue;
      }
      const media = await mediaOf(file);
      await this.attempt(() => api.send({ from: account, to: other, text: "", media }));
    }
    this.file.value = "";
  }

  async command(text) {
    this.list.hidden = true;
    this.input.value = "";
    this.refresh();
    await this.attempt(() => api.send({ from: this.chat.account, to: this.chat.other, text }));
  }

  async attempt(action) {
    try {
      await action();
      return true;
    } catch (error) {
      this.chat.say(error.message);
      return false;
    }
  }

  toggleCommands() {
    if (this.list.hidden) this.showCommands("");
    else this.list.hidden = true;
    this.input.focus();
  }

  showCommands(prefix) {
    const fitting = prefix === null ? [] : this.chat.commands().filter((item) => item.command.startsWith(prefix));
    this.list.hidden = fitting.length === 0;
    this.list.replaceChildren(
      ...fitting.map((item) =>
        el("li", {}, el("button", { type: "button", testid: "command-item", onclick: () => this.command(`/${item.command}`) }, el("strong", {}, `/${item.command}`), el("span", { dir: "auto" }, item.description))),
      ),
    );
  }
}

async function mediaOf(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let binary = "";
  for (let start = 0; start < bytes.length; start += 0x8000) binary += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  const media = { kind: "document", content_base64: btoa(binary), mime_type: file.type || "application/octet-stream", file_name: file.name };
  if (!["image/png", "image/jpeg", "image/webp"].includes(file.type)) return media;
  try {
    const bitmap = await createImageBitmap(file);
    return { ...media, kind: "photo", width: bitmap.width, height: bitmap.height };
  } catch {
    return media; // calls itself a picture and is none: a file then
  }
}
