// Small things that float over a phone: menus, toasts, alerts, the picture viewer.

import { button, el, icon } from "./dom.js";

// items: {label, icon, run, checked?, danger?, testid}; `at` in page coordinates; `reactions`: {emoji, pick(one)}
export function openMenu(phone, at, items, reactions = null) {
  closeMenu(phone);
  const before = document.activeElement;
  const close = () => {
    layer.remove();
    if (before && before.isConnected) before.focus({ preventScroll: true });
  };
  const menu = el(
    "div",
    { class: "menu", role: "menu", testid: "menu" },
    reactions && el("div", { class: "reactions-row" }, reactions.emoji.map((one) => el("button", { type: "button", role: "menuitem", "aria-label": `React with ${one}`, testid: "react", onclick: () => (close(), reactions.pick(one)) }, one))),
    items.map((item) =>
      el(
        "button",
        {
          type: "button",
          role: item.checked === undefined ? "menuitem" : "menuitemcheckbox",
          "aria-checked": item.checked === undefined ? null : String(item.checked),
          class: item.danger ? "danger" : null,
          testid: item.testid,
          onclick: () => {
            close();
            item.run();
          },
        },
        icon(item.icon),
        el("span", {}, item.label),
        item.checked !== undefined && el("span", { class: "switch" }),
      ),
    ),
  );
  const layer = el("div", { class: "layer", onclick: (event) => event.target === layer && close() }, menu);
  layer.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    close();
  });
  layer.addEventListener("keydown", (event) => onKey(event, menu, close));
  phone.append(layer);
  const frame = phone.getBoundingClientRect();
  const left = Math.min(Math.max(at.x - frame.left, 10), frame.width - menu.offsetWidth - 10);
  const top = Math.min(Math.max(at.y - frame.top, 10), frame.height - menu.offsetHeight - 10);
  menu.style.left = `${left}px`;
  menu.style.top = `${top}px`;
  menu.querySelector("button").focus({ preventScroll: true });
}

function onKey(event, menu, close) {
  const items = [...menu.querySelectorAll("button")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
  } else if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    close();
  }
}

export function closeMenu(phone) {
  phone.querySelector(":scope > .layer")?.remove();
}

export function toast(phone, text) {
  phone.querySelector(":scope > .toast")?.remove();
  const node = el("div", { class: "toast", role: "status", testid: "toast", dir: "auto" }, text);
  phone.append(node);
  setTimeout(() => node.remove(), Math.max(3000, text.length * 70));
}

export function alertBox(phone, text) {
  const ok = el("button", { type: "button", class: "primary", testid: "alert-ok" }, "OK");
  over(phone, "alert", ok, el("p", { dir: "auto" }, text), ok);
}

export function viewer(phone, message) {
  const close = button("Close", "close", { testid: "viewer-close" });
  over(phone, "viewer", close, el("img", { src: message.media.url, alt: message.media.file_name || "Photo" }), close);
}

function over(phone, kind, closer, ...children) {
  const before = document.activeElement;
  const box = el("div", { class: `box ${kind}`, role: "dialog", "aria-modal": "true", testid: kind }, children);
  const layer = el("div", { class: "layer dim" }, box);
  const close = () => {
    layer.remove();
    if (before && before.isConnected) before.focus({ preventScroll: true });
  };
  closer.addEventListener("click", close);
  layer.addEventListener("click", (event) => event.target === layer && close());
  layer.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Tab") event.preventDefault(); // the only thing to press has the focus
  });
  phone.append(layer);
  closer.focus({ preventScroll: true });
}
