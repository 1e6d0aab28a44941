// The similarity matrices of two models, and the pairs on which they disagree most.

import { count, find, make, ordinal, Runner, score } from "/page/dom.js";
import { Grids } from "/page/grid.js";
import { ask } from "/page/server.js";

const EXAMPLES = [
  "A man is playing a guitar on stage.",
  "Someone plays the guitar at a concert.",
  "Nobody is playing the guitar.",
  "How do I reset my password?",
  "I forgot my password and cannot log in.",
  "The bank raised its interest rates.",
  "They sat on the bank of the river.",
  "Loans have become more expensive.",
];

export function startSimilarity({ most_texts: mostTexts }, chosen) {
  const field = find("texts");
  const grids = new Grids();
  field.value = EXAMPLES.join("\n");
  const lines = () => field.value.split("\n").map((line) => line.trim()).filter(Boolean);
  const tellNumber = () => {
    find("texts-help").textContent = `${count(lines().length, "text")} of at most ${mostTexts}`;
  };

  async function work(signal) {
    const texts = lines();
    if (texts.length < 2) throw new Error("Write at least two texts, each on a line of its own.");
    if (texts.length > mostTexts) {
      throw new Error(`These are ${texts.length} texts. Keep at most ${mostTexts}: a larger table cannot be read.`);
    }
    const models = chosen.models;
    const found = await ask("/page/similarity", { models, texts, input_type: chosen.prompt }, signal);
    grids.show(texts, found.models);
    showPairs(texts, found.compared, models);
    return `${count(texts.length, "text")} read in`;
  }

  const runner = new Runner({
    section: find("similarity"),
    status: find("similarity-status"),
    error: find("texts-error"),
    field,
    work,
  });
  field.addEventListener("input", () => {
    tellNumber();
    runner.soon();
  });
  tellNumber();
  return () => runner.now();
}

function showPairs(texts, compared, models) {
  find("pairs-box").hidden = !compared;
  if (!compared) return;
  const { pairs, num_pairs: numPairs, agreement } = compared;
  find("agreement").textContent = inWords(agreement, numPairs);
  find("ends").hidden = !pairs.length;
  find("pairs").replaceChildren(...pairs.map((pair) => showPair(pair, texts, numPairs, models)));
}

function inWords(agreement, numPairs) {
  if (agreement === null) return numPairs < 2 ? "There is only one pair of texts." : "A model finds all pairs equally similar.";
  const alike = [[0.95, "almost the same"], [0.8, "a similar"], [0.5, "a partly similar"], [0.2, "a rather different"]];
  const words = alike.find(([least]) => agreement >= least)?.[1] ?? "quite another";
  return `From most to least similar, the ${numPairs} pairs have ${words} order in the two models (rank correlation ${score(agreement)}).`;
}

function showPair({ first, second, similarity, rank }, texts, numPairs, models) {
  const place = (value) => (numPairs > 1 ? (value - 1) / (numPairs - 1) : 0);
  const [a, b] = rank.map(place);
  const track = make(
    "div",
    { class: "track", "aria-hidden": "true", "--from": Math.min(a, b), "--to": Math.max(a, b) },
    make("i", { class: "line" }),
    make("i", { class: "dot a", "--at": a }),
    make("i", { class: "dot b", "--at": b }),
  );
  const side = (number, name) =>
    make(
      "span",
      {},
      make("i", { class: `dot ${name}`, "aria-hidden": "true" }),
      make("span", { class: "unseen" }, `${models[number]}: `),
      `${ordinal(rank[number])} (${score(similarity[number])})`,
    );
  return make(
    "li",
    {},
    make("p", { class: "texts" }, texts[first]),
    make("p", { class: "texts" }, texts[second]),
    track,
    make("p", { class: "ranks" }, side(0, "a"), side(1, "b")),
  );
}
