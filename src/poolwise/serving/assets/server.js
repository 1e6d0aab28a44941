// Requests to the server, with the API key if it needs one. The key is kept in this variable and nowhere else.

import { find } from "/page/dom.js";

let key = "";
let asking = null;

export class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, body, signal) {
  for (;;) {
    const used = key;
    const answer = await send(path, body, used, signal);
    if (answer.status !== 401) return read(answer);
    // Another request may have asked for the key meanwhile.
    if (used === key) await askKey(used ? "The server does not know this key." : "");
  }
}

async function send(path, body, used, signal) {
  const headers = used ? { Authorization: `Bearer ${used}` } : {};
  const options = { headers, signal, cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Is it still running?");
  }
}

async function read(answer) {
  let content = null;
  try {
    content = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  if (answer.ok && content !== null) return content;
  if (answer.status === 429 || answer.status === 503) {
    const seconds = answer.headers.get("Retry-After");
    throw new Problem(`The server is busy. Try again${seconds ? ` in ${seconds} s` : ""}.`, answer.status);
  }
  throw new Problem(content?.error?.message ?? `The server answered with an error (${answer.status}).`, answer.status);
}

// Ask for the key in a dialog; requests that need it wait for the same answer.
function askKey(message) {
  asking ??= new Promise((done, refuse) => {
    const [dialog, form, field, error] = ["key-dialog", "key-form", "key", "key-error"].map(find);
    const finish = (result) => {
      form.removeEventListener("submit", submit);
      dialog.removeEventListener("close", cancel);
      field.value = "";
      asking = null;
      if (dialog.open) dialog.close();
      result();
    };
    const submit = (event) => {
      event.preventDefault();
      const given = field.value.trim();
      if (!/^[\x21-\x7e]+$/.test(given)) {
        error.textContent = given ? "A key has letters, digits and signs, without spaces." : "Type or paste the key.";
        field.setAttribute("aria-invalid", "true");
        return;
      }
      key = given;
      finish(done);
    };
    const cancel = () => finish(() => refuse(new Problem("This server needs an API key.", 401)));
    error.textContent = message;
    field.toggleAttribute("aria-invalid", Boolean(message));
    form.addEventListener("submit", submit);
    dialog.addEventListener("close", cancel);
    find("key-cancel").onclick = () => dialog.close();
    dialog.showModal();
    field.focus();
  });
  return asking;
}
