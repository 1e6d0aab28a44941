// Small helpers for the document. Text only ever becomes text: nothing here parses HTML.

export const find = (id) => document.getElementById(id);

// Return an element with attributes and children; children that are strings become text.
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function makeSvg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function fill(select, names) {
  select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
}

// Similarities as the report writes them: .83, -.04, 1.00.
export function score(value, digits = 2) {
  const text = value.toFixed(digits);
  return text.replace(/^(-?)0\./, "$1.").replace(/^-(\.0*)$/, "$1");
}

// The classes that decide the colour of text on a shade; page.css says why these shares.
export function shadeClass(share) {
  return share > 0.735 ? "shade mid deep" : share > 0.65 ? "shade mid" : "shade";
}

export function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1%";
  return `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)}%`;
}

export function ordinal(number) {
  if (!Number.isInteger(number)) return `${number}`;
  const last = number % 100;
  if (last >= 11 && last <= 13) return `${number}th`;
  return number + ({ 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th");
}

export function shorten(text, most) {
  const characters = [...text];
  return characters.length > most ? `${characters.slice(0, most - 1).join("")}…` : text;
}

export function count(number, thing, plural = `${thing}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? thing : plural}`;
}

// Run work for the newest input only: it is asked for a moment after the last change, and an older answer is dropped.
export class Runner {
  constructor({ section, status, error, field, work }) {
    Object.assign(this, { section, status, error, field, work });
    this.timer = 0;
    this.current = null;
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.now(), 450);
  }

  async now() {
    clearTimeout(this.timer);
    this.current?.abort();
    const mine = new AbortController();
    this.current = mine;
    this.section.setAttribute("aria-busy", "true");
    const start = performance.now();
    try {
      const said = await this.work(mine.signal);
      if (this.current !== mine) return;
      this.tell("");
      this.status.textContent = said ? `${said} ${Math.round(performance.now() - start)} ms.` : "";
    } catch (problem) {
      if (this.current !== mine || problem.name === "AbortError") return;
      this.tell(problem.message);
      this.status.textContent = "";
    } finally {
      if (this.current === mine) this.section.removeAttribute("aria-busy");
    }
  }

  tell(message) {
    this.error.textContent = message;
    // What is shown then belongs to an earlier input.
    this.section.toggleAttribute("data-stale", Boolean(message));
    if (message) this.field.setAttribute("aria-invalid", "true");
    else this.field.removeAttribute("aria-invalid");
  }
}
