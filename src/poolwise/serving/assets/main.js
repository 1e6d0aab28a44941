// Starts the page: what the server offers, the choice of models, and the parts.

import { count, fill, find } from "/page/dom.js";
import { startExperiment } from "/page/experiment.js";
import { ask } from "/page/server.js";
import { startSearch } from "/page/search.js";
import { startSimilarity } from "/page/similarity.js";
import { startWeights } from "/page/weights.js";

const chosen = { models: [], prompt: null };

async function start() {
  const problem = find("problem");
  problem.hidden = true;
  let state;
  try {
    state = await ask("/page/state");
  } catch (error) {
    problem.firstElementChild.textContent = error.message;
    problem.hidden = false;
    return;
  }
  offerModels(state);
  offerReport(state);
  find("footer").textContent = `poolwise ${state.poolwise}`;
  find("main").hidden = false;
  const parts = [startSimilarity(state, chosen), startWeights(state, chosen), startSearch(state, chosen)];
  const changed = () => {
    readChoice(state);
    for (const part of parts) part();
  };
  find("choice").addEventListener("change", changed);
  find("swap").addEventListener("click", () => {
    const [a, b] = [find("model-a"), find("model-b")];
    [a.value, b.value] = [b.value, a.value];
    changed();
  });
  changed();
  startExperiment(state);
}

function offerModels({ models }) {
  const names = models.map((model) => model.name);
  for (const id of ["model-a", "model-b"]) fill(find(id), names);
  const isAlone = names.length < 2;
  for (const id of ["pick-b", "swap"]) find(id).hidden = isAlone;
  find("alone").hidden = !isAlone;
  if (!isAlone) find("model-b").selectedIndex = 1;
  find("pick-prompt").hidden = !models.some((model) => model.prompts.length);
}

function readChoice({ models }) {
  const picked = models.length > 1 ? ["a", "b"] : ["a"];
  chosen.models = picked.map((side) => find(`model-${side}`).value);
  chosen.prompt = find("prompt").value || null;
  for (const side of picked) {
    const model = models.find((one) => one.name === find(`model-${side}`).value);
    find(`told-${side}`).textContent = describe(model);
  }
}

function describe(model) {
  const kind = model.design ?? [model.pooling, model.attention].filter(Boolean).join(", ");
  const layers = model.num_layers ? `, ${count(model.num_layers, "layer")}` : "";
  const length = model.max_tokens ? `, up to ${count(model.max_tokens, "token")}` : "";
  return `${kind}: ${count(model.width, "dimension")}${layers}${length}`;
}

function offerReport({ has_report: hasReport }) {
  find("report").hidden = !hasReport;
  find("report").addEventListener("click", async () => {
    // A link cannot send the API key, so the server gives an address that works once.
    const opened = window.open("about:blank", "_blank");
    if (opened) opened.opener = null;
    try {
      const { url } = await ask("/page/ticket", {});
      if (opened) opened.location.replace(url);
      else location.assign(url);
    } catch (error) {
      opened?.close();
      find("problem").firstElementChild.textContent = error.message;
      find("problem").hidden = false;
    }
  });
}

find("problem").querySelector("button").addEventListener("click", start);
start();
