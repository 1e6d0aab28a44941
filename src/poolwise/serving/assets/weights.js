// What the poolings weigh: heat over the tokens of a text, and bars over layers.

import { count, find, make, percent, Runner, shadeClass } from "/page/dom.js";
import { ask } from "/page/server.js";

const EXAMPLE = "The service was slow, but the food was not bad at all.";
const ROLES = {
  start: "start of text",
  prompt: "prompt",
  repetition: "second reading",
  landmark: "landmark",
  end: "end of text",
  trained: "trained token",
};

export function startWeights({ most_characters: mostCharacters }, chosen) {
  const field = find("text");
  field.value = EXAMPLE;

  async function work(signal) {
    const text = field.value.trim();
    if (!text) throw new Error("Write a text.");
    if (text.length > mostCharacters) {
      throw new Error(`The text has ${text.length} characters. Keep at most ${mostCharacters}.`);
    }
    const found = await ask("/page/weights", { models: chosen.models, text, input_type: chosen.prompt }, signal);
    find("heats").replaceChildren(...found.models.map(show));
    return "Weighed in";
  }

  const runner = new Runner({ section: find("weights"), status: find("weights-status"), error: find("text-error"), field, work });
  field.addEventListener("input", () => runner.soon());
  return () => runner.now();
}

function show(model, side) {
  const head = make("h3", {}, make("i", { class: `dot ${side ? "b" : "a"}`, "aria-hidden": "true" }), model.name);
  if (model.problem) return make("div", { class: "panel" }, head, make("p", { class: "note" }, model.problem));
  return make(
    "div",
    { class: `panel ${side ? "b" : "a"}` },
    head,
    make("p", { class: "design" }, model.design),
    model.layers.length ? bars(model.layers) : null,
    heat(model.tokens),
    make("p", { class: "note" }, `${model.told.join(" ")} The middle shade is an equal share, ${percent(1 / model.tokens.length)}.`),
  );
}

function heat(tokens) {
  const even = 1 / tokens.length;
  const shown = tokens.map(({ text, role, weight }) => {
    // Half of the heat is an equal share; the power makes a tenth more or less visible.
    const ratio = (weight / even) ** 3;
    const v = ratio / (1 + ratio);
    const said = ROLES[role] ? make("span", { class: "unseen" }, ` (${ROLES[role]})`) : null;
    const classes = `token ${role} ${shadeClass(v)}`;
    return make(
      "li",
      { class: classes, "--v": `${Math.round(100 * v)}%`, title: `${ROLES[role] ? `${ROLES[role]}, ` : ""}${percent(weight)}` },
      make("span", { class: "word", dir: "auto" }, text.replace(/\n/g, "⏎").trim() || (text ? "␣" : "·"), said),
      make("small", {}, percent(weight)),
    );
  });
  return make("ol", { class: "heat", "aria-label": `Weights of ${count(tokens.length, "token")}` }, ...shown);
}

function bars(layers) {
  const top = Math.max(...layers, 1e-9);
  const every = layers.length > 16 ? Math.ceil(layers.length / 8) : 1;
  const shown = layers.map((weight, place) =>
    make(
      "li",
      { "--v": weight / top, title: `layer ${place + 1}: ${percent(weight)}` },
      make("i", { "aria-hidden": "true" }),
      make("span", { class: "unseen" }, `layer ${place + 1}: ${percent(weight)}`),
      make("small", { "aria-hidden": "true" }, (place + 1) % every === 0 || place === 0 ? `${place + 1}` : ""),
    ),
  );
  return make(
    "figure",
    { class: "layers" },
    make("figcaption", {}, `Layers: highest ${percent(top)}; the line is an equal share, ${percent(1 / layers.length)}`),
    make("ol", { "--even": 1 / layers.length / top }, ...shown),
  );
}
