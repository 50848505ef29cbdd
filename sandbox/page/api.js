// The control API. A refusal becomes an Error whose message is the server's sentence.

async function call(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(`/api/${path}`, options);
  } catch {
    throw new Error("The sandbox does not answer. Is it still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

export const api = {
  world: () => call("world"),
  chats: (account) => call(`chats/${account}`),
  history: (account, other, before) => call(`chats/${account}/${other}?limit=60${before ? `&before=${before}` : ""}`),
  send: (message) => call("send", message),
  edit: (account, message, text) => call("edit", { account, message, text }),
  delete: (account, messages) => call("delete", { account, messages }),
  press: (account, message, data) => call("press", { account, message, data }),
  react: (account, message, emoji) => call("react", { account, message, emoji }),
  typing: (from, to) => call("typing", { from, to }),
  read: (account, other) => call("read", { account, other }),
  connect: (account, bot) => call("connect", { account, bot }),
  disconnect: (account) => call("disconnect", { account }),
  block: (account, other, blocked) => call("block", { account, other, blocked }),
};

// The browser reconnects by itself and resumes with Last-Event-ID; `onLink(up)` tells how it stands.
export function listen(after, onEvent, onLink) {
  const source = new EventSource(`/api/events?after=${after}`);
  source.onopen = () => onLink(true);
  source.onerror = () => onLink(false);
  source.onmessage = (message) => onEvent(JSON.parse(message.data));
  window.addEventListener("pagehide", () => source.close());
}
