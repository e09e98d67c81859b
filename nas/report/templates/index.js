const { common, runs } = JSON.parse(document.getElementById("runs").textContent);
const table = document.querySelector("table.runs"), find = (id) => document.getElementById(id);
const boxes = [...table.querySelectorAll("input")];
const DRAWN = new Set(["svg", "path", "text", "title"]);
const DASHES = ["", "6 3", "2 3"], COLOURS = 8;
const WIDTH = 480, HEIGHT = 240, LEFT = 56, RIGHT = 12, TOP = 10, BOTTOM = 24;

function element(name, attributes = {}, ...children) {
  const made = document.createElementNS(`http://www.w3.org/${DRAWN.has(name) ? "2000/svg" : "1999/xhtml"}`, name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
}

/* A row is shown if it has every word of the filter; parts of sweeps and comparisons only if asked for, or picked. */
function filter() {
  const words = find("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    const wanted = words.every((word) => text.includes(word)) && (find("parts").checked || !row.classList.contains("part"));
    row.hidden = !wanted && !row.querySelector("input").checked;
    shown += !row.hidden;
  }
  find("count").textContent = `${shown} of ${runs.length} runs`;
}

const look = (place) => ({ stroke: `var(--c${(place % COLOURS) + 1})`, "stroke-dasharray": DASHES[Math.floor(place / COLOURS) % DASHES.length] });
const figure = (value) => Math.abs(value) >= 1e4 || (value && Math.abs(value) < 1e-3) ? value.toExponential(1) : String(Number(value.toPrecision(3)));

/* The curves of one name as a figure; the axes run from the smallest to the largest value of all runs. */
function chart(name, lines) {
  const range = (part) => {
    const all = lines.flatMap((line) => line.curve[part]), low = Math.min(...all), high = Math.max(...all);
    return low === high ? [low - 0.5, high + 0.5] : [low, high];
  };
  const [[first, last], [low, high]] = [range(0), range(1)];
  const x = (step) => LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / (last - first);
  const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low);
  const title = name[0].toUpperCase() + name.slice(1);
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} over the training steps` });
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const value = low + part * (high - low);
    svg.append(element("path", { class: "grid", d: `M${LEFT} ${y(value)}H${WIDTH - RIGHT}` }));
    svg.append(element("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, figure(value)));
  }
  for (const step of new Set([0, 0.25, 0.5, 0.75, 1].map((part) => Math.round(first + part * (last - first))))) {
    const anchor = step <= first ? "start" : step >= last ? "end" : "middle";
    svg.append(element("text", { x: x(step), y: HEIGHT - 6, "text-anchor": anchor }, step.toLocaleString("en")));
  }
  for (const { place, run, curve: [steps, values] } of lines) {
    const d = steps.map((step, at) => `${at ? "L" : "M"}${x(step).toFixed(1)} ${y(values[at]).toFixed(1)}`).join("");
    svg.append(element("path", { d, ...look(place) }, element("title", {}, `${run.name}: ${figure(values.at(-1))} at step ${steps.at(-1)}`)));
  }
  return element("figure", {}, element("figcaption", {}, element("b", {}, title)), svg);
}

function differences(picked) {
  const value = (run, option) => option in run.own ? run.own[option] : common[option];
  const options = Object.keys(common).filter((option) => new Set(picked.map((run) => value(run, option))).size > 1);
  const head = element("tr", {}, element("th", { scope: "col" }, "option"), ...picked.map((run) => element("th", { scope: "col" }, run.name)));
  const rows = options.map((option) => element("tr", {}, element("th", { scope: "row" }, option), ...picked.map((run) => element("td", {}, value(run, option) ?? "–"))));
  const none = element("tr", {}, element("td", { colspan: picked.length + 1 }, "All options are the same."));
  find("differences").replaceChildren(element("thead", {}, head), element("tbody", {}, ...(options.length ? rows : [none])));
}

function compare() {
  const picked = boxes.filter((box) => box.checked).map((box) => runs[Number(box.value)]);
  find("compared").hidden = picked.length === 0;
  find("hint").hidden = picked.length > 1;
  find("legend").replaceChildren(...picked.map((run, place) => {
    const key = element("svg", { width: 28, height: 10, "aria-hidden": "true" }, element("path", { d: "M0 5H28", fill: "none", "stroke-width": 2.5, ...look(place) }));
    return element("span", {}, key, run.name + (Object.keys(run.curves).length ? "" : " (no curves)"));
  }));
  const names = [...new Set(picked.flatMap((run) => Object.keys(run.curves)))];
  find("overlay").replaceChildren(...names.map((name) => chart(name, picked.flatMap((run, place) => run.curves[name]?.[0].length ? [{ place, run, curve: run.curves[name] }] : []))).filter(Boolean));
  differences(picked);
}

find("filter").addEventListener("input", filter);
find("parts").addEventListener("change", filter);
boxes.forEach((box) => box.addEventListener("change", () => { compare(); filter(); }));
compare();
filter();
