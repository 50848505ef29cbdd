// The control API. A refusal becomes an Error whose message is the server's sentence.

const RECONNECT_MS = 1000;

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

// Every event after the position `after`, also over a lost connection; `onLink(up)` tells how it stands.
export function listen(after, onEvent, onLink) {
  const source = new EventSource(`/api/events?after=${after}`);
  source.onopen = () => onLink(true);
  source.onmessage = (message) => {
    after = message.lastEventId;
    onEvent(JSON.parse(message.data));
  };
  source.onerror = () => {
    onLink(false);
    // Most of the time the browser tries again by itself, but not after every kind of failure.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(after, onEvent, onLink), RECONNECT_MS);
  };
}
