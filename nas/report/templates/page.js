"use strict";

const HEIGHT = 12, PLANTED = 2, LOW = 0.3, NOT_ROUTED = 255;

/* Bytes of a base64 text; a loop by index, since iterating over a million characters takes a fifth of a second. */
function bytes(text) {
  const decoded = atob(text), made = new Uint8Array(decoded.length);
  for (let at = 0; at < made.length; at++) made[at] = decoded.charCodeAt(at);
  return made.buffer;
}

function two(value) {
  return value === null ? "–" : value.toFixed(2);
}

function entropy(p) {
  return p <= 0 || p >= 1 ? 0 : -(p * Math.log2(p) + (1 - p) * Math.log2(1 - p));
}

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/* Show the routing of one sequence in one run, from the numbers in the page's data. */
function explore(view) {
  const data = JSON.parse(view.querySelector("script[type='application/json']").textContent);
  const { heads, chunks, chunkSize, planted } = data;
  const leads = new Int16Array(bytes(data.lead)), weights = new Uint8Array(bytes(data.weight));
  const wide = data.tokenBytes === 4 ? Uint32Array : Uint16Array;
  const readers = data.readers && {
    tokens: new wide(bytes(data.readers.tokens)), weights: new Uint16Array(bytes(data.readers.weights)),
  };
  const steps = data.snapshots ? data.snapshots.steps : [];
  const codes = data.snapshots ? new Uint8Array(bytes(data.snapshots.codes)) : null;
  const last = steps.length;

  const boxes = Array.from(view.querySelectorAll(".chunk"));
  const tops = boxes.map((box) => box.querySelector(".top span"));
  const texts = boxes.map((box) => box.querySelector(".text"));
  const cells = Array.from(view.querySelectorAll(".heads button"));
  const canvases = cells.map((cell) => cell.querySelector("canvas").getContext("2d"));
  const [layer, head] = [view.querySelector("select.layer"), view.querySelector("select.head")];
  const status = view.querySelector(".status"), inspector = view.querySelector(".inspector");
  const slider = view.querySelector(".step"), output = view.querySelector("output"), play = view.querySelector(".play");
  let row = cells.findIndex((cell) => cell.getAttribute("aria-pressed") === "true");
  let frame = last, chosen = null, timer = null;

  const code = (at) => codes[(frame * heads.length + at[0]) * chunks + at[1]];
  const index = (at) => at[0] * chunks + at[1];

  /* Probability of softmax; null where the head did not route at that step. */
  function probability(at) {
    if (frame === last) return 1 / (1 + Math.exp(-leads[index(at)] * data.leadUnit));
    return code(at) === NOT_ROUTED ? null : (code(at) + 0.5) / data.codes;
  }

  /* Softmax's weight of a chunk: the route in use after training, the router's choice during training. */
  function weight(at) {
    if (frame === last) return weights[index(at)] / 255;
    return code(at) === NOT_ROUTED ? null : Number(code(at) >= data.codes / 2);
  }

  /* Share, entropy, precision and recall of a head; null if the head did not route at that step. */
  function figures(of) {
    let sum = 0, bits = 0, found = 0, count = 0;
    for (let chunk = 0; chunk < chunks; chunk++) {
      const kept = weight([of, chunk]);
      if (kept === null) return null;
      sum += kept;
      bits += entropy(probability([of, chunk]));
      if (planted && planted[chunk]) { count++; found += kept; }
    }
    return {
      share: sum / chunks, entropy: bits / chunks,
      precision: sum > 0.01 ? found / sum : null, recall: count ? found / count : null,
    };
  }

  function colour(name) {
    const pen = canvases[0];
    pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const number = parseInt(pen.fillStyle.slice(1), 16);
    return new Uint32Array(new Uint8Array([number >> 16, (number >> 8) & 255, number & 255, 255]).buffer)[0];
  }

  function drawGrid() {
    const [softmax, linear, mark] = ["--softmax", "--linear", "--planted"].map(colour);
    const shares = new Map();
    cells.forEach((cell, of) => {
      const image = canvases[of].createImageData(chunks, HEIGHT);
      const bottom = HEIGHT - (planted ? PLANTED : 0);
      const pixels = new Uint32Array(image.data.buffer);
      const paint = (x, y, rgba) => { pixels[y * chunks + x] = rgba; };
      let sum = 0;
      for (let chunk = 0; chunk < chunks; chunk++) {
        const kept = weight([of, chunk]);
        if (kept === null) { sum = null; break; }
        sum += kept;
        const top = bottom - Math.round(bottom * (LOW + (1 - LOW) * kept));
        for (let y = top; y < bottom; y++) paint(chunk, y, kept >= 0.5 ? softmax : linear);
        if (planted && planted[chunk]) for (let y = bottom; y < HEIGHT; y++) paint(chunk, y, mark);
      }
      canvases[of].putImageData(image, 0, 0);
      const share = sum === null ? "–" : two(sum / chunks);
      cell.lastChild.textContent = share;
      cell.setAttribute("aria-label", `layer ${heads[of][0]} head ${heads[of][1]}: ${share}`);
      if (sum !== null) shares.set(heads[of][0], [...(shares.get(heads[of][0]) || []), sum / chunks]);
    });
    view.querySelectorAll(".layer-share").forEach((place, number) => {
      const each = shares.get(Number(layer.options[number].value));
      place.textContent = each ? two(each.reduce((a, b) => a + b) / each.length) : "–";
    });
  }

  function showRow() {
    const [ofLayer, ofHead] = heads[row];
    layer.value = ofLayer;
    head.value = ofHead;
    const own = heads.filter((one) => one[0] === ofLayer).length;
    Array.from(head.options).forEach((option) => { option.disabled = Number(option.value) >= own; });
    cells.forEach((cell, of) => {
      cell.setAttribute("aria-pressed", String(of === row));
      cell.tabIndex = of === row ? 0 : -1;
    });
    boxes.forEach((box, chunk) => {
      const kept = weight([row, chunk]), p = probability([row, chunk]);
      box.classList.toggle("softmax", kept !== null && kept >= 0.5);
      box.classList.toggle("linear", kept !== null && kept < 0.5);
      box.style.setProperty("--strength", kept === null ? "0%" : `${Math.round(20 + 160 * Math.abs(p - 0.5))}%`);
      tops[chunk].textContent = kept === null ? "not routed yet" : (kept >= 0.5 ? "S " : "L ") + two(p);
    });
    const found = figures(row);
    const parts = found ? [`share ${two(found.share)}`, `entropy ${two(found.entropy)} bits`] : ["not routed at this step"];
    if (found && planted) parts.push(`precision ${two(found.precision)}`, `recall ${two(found.recall)}`);
    status.textContent = `layer ${ofLayer} head ${ofHead}: ${parts.join(" · ")}`;
    inspect(chosen);
  }

  function token(position) {
    return texts[Math.floor(position / chunkSize)].children[position % chunkSize];
  }

  function excerpt(from, to) {
    const space = texts[0].closest(".spaced") ? " " : "";
    const parts = [];
    for (let position = Math.max(from, 0); position < Math.min(to, data.tokens); position++) {
      parts.push(token(position).textContent);
    }
    return parts.join(space);
  }

  function readersOf(chunk) {
    const found = [];
    for (let place = 0; readers && place < data.readersEach; place++) {
      const at = index([row, chunk]) * data.readersEach + place;
      if (readers.tokens[at]) {
        found.push({ position: readers.tokens[at] - 1, part: readers.weights[at] * data.weightUnit });
      }
    }
    return found;
  }

  /* A list item on a token that reads the chunk, with a button that selects the token's chunk. */
  function readerLine(reader) {
    const line = document.createElement("li"), button = element("button", `token ${reader.position}`);
    button.type = "button";
    button.addEventListener("click", () => focusChunk(Math.floor(reader.position / chunkSize)));
    const part = 100 * reader.part;
    const around = texts[0].closest(".spaced") ? 3 : 16;
    line.append(button, ` gives it ${part < 1 ? part.toFixed(2) : part.toFixed(0)} % of its attention: `,
      element("code", excerpt(reader.position - around, reader.position + 1)));
    return line;
  }

  function inspect(chunk) {
    view.querySelectorAll(".reader").forEach((span) => span.classList.remove("reader"));
    if (chosen !== null) boxes[chosen].classList.remove("chosen");
    chosen = chunk;
    if (chunk === null) return;
    boxes[chunk].classList.add("chosen");
    const kept = weight([row, chunk]), p = probability([row, chunk]);
    const first = chunk * chunkSize, end = Math.min(first + chunkSize, data.tokens);
    const title = document.createElement("p");
    title.append(element("b", `Chunk ${chunk}`), `, tokens ${first} to ${end - 1}` +
      (data.decidedIn[row] > chunkSize ? `, in a chunk of ${data.decidedIn[row]}` : "") +
      (planted && planted[chunk] ? " ◆ planted" : ""));
    const lines = [title];
    if (kept === null) {
      lines.push(element("p", "This head did not route at this step."));
    } else {
      const lead = frame === last ? leads[index([row, chunk])] * data.leadUnit : Math.log(p / (1 - p));
      const mixed = kept > 0.01 && kept < 0.99 ? `, weight used ${two(kept)}` : "";
      const score = `, score (lead of softmax's logit) ${lead >= 0 ? "+" : "−"}${Math.abs(lead).toFixed(2)}`;
      lines.push(element("p", `${kept >= 0.5 ? "Softmax" : "Linear"}: probability of softmax ${p.toFixed(3)}` +
        `${Math.abs(lead) < data.mostLead ? score : ""}${mixed}.`));
    }
    const words = document.createElement("p");
    words.append(element("code", excerpt(first, Math.min(end, first + 160)) + (end > first + 160 ? " …" : "")));
    lines.push(words, ...read(chunk, kept));
    inspector.replaceChildren(...lines);
  }

  /* The readers of a chunk as a list, also marked in the text. */
  function read(chunk, kept) {
    if (frame !== last || !readers) {
      return [element("p", !readers ? "The readers of this chunk were not stored." : `Readers are known at the last position of the slider only: ${data.end}.`)];
    }
    const found = readersOf(chunk);
    if (!found.length) {
      const none = kept > 0 ? "No later token reads it." : "No later token reads it by softmax attention: this head sends it to linear attention.";
      return [element("p", none)];
    }
    found.forEach((reader) => token(reader.position).classList.add("reader"));
    const list = document.createElement("ol");
    list.append(...found.map(readerLine));
    return [element("p", "The later tokens that attend to it most:"), list];
  }

  function choose(of) {
    row = of;
    showRow();
  }

  function go(to) {
    frame = to;
    slider.value = to;
    output.textContent = to === last ? data.end : `step ${steps[to].toLocaleString("en")}`;
    slider.setAttribute("aria-valuetext", output.textContent);
    drawGrid();
    showRow();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  function toggle() {
    if (timer !== null) return stop();
    if (frame === last) go(0);
    play.textContent = "Pause";
    timer = setInterval(() => (frame < last ? go(frame + 1) : stop()), 300);
  }

  /* The index that an arrow key selects from `from` in a grid of `count` elements; null for none. */
  function moved(key, from, count, columns) {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
    if (key === "Home") return 0;
    if (key === "End") return count - 1;
    return by === undefined || from + by < 0 || from + by >= count ? null : from + by;
  }

  function focusChunk(chunk) {
    boxes.forEach((box, at) => { box.tabIndex = at === chunk ? 0 : -1; });
    boxes[chunk].focus();
    boxes[chunk].scrollIntoView({ block: "nearest" });
  }

  function chunkOf(event) {
    const box = event.target.closest(".chunk");
    return box ? boxes.indexOf(box) : null;
  }

  cells.forEach((cell, of) => cell.addEventListener("click", () => choose(of)));
  view.querySelector(".heads").addEventListener("keydown", (event) => {
    const to = moved(event.key, cells.indexOf(event.target), cells.length, Number(head.options.length));
    if (to === null) return;
    event.preventDefault();
    choose(to);
    cells[to].focus();
  });
  for (const select of [layer, head]) {
    select.addEventListener("change", () => {
      const own = heads.filter((one) => one[0] === Number(layer.value)).length;
      const wanted = Math.min(Number(head.value), own - 1);
      choose(heads.findIndex((one) => one[0] === Number(layer.value) && one[1] === wanted));
    });
  }
  const tokens = view.querySelector(".tokens");
  tokens.addEventListener("pointerover", (event) => {
    const chunk = chunkOf(event);
    if (chunk !== null && chunk !== chosen) inspect(chunk);
  });
  tokens.addEventListener("focusin", (event) => inspect(chunkOf(event)));
  tokens.addEventListener("click", (event) => {
    const chunk = chunkOf(event);
    if (chunk !== null) focusChunk(chunk);
  });
  tokens.addEventListener("keydown", (event) => {
    const columns = getComputedStyle(tokens).gridTemplateColumns.split(" ").length;
    const to = moved(event.key, chunkOf(event), chunks, columns);
    if (to === null) return;
    event.preventDefault();
    focusChunk(to);
  });
  if (slider) {
    slider.addEventListener("input", () => { stop(); go(Number(slider.value)); });
    play.addEventListener("click", toggle);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawGrid);
  const onPaper = (yes) => { document.documentElement.classList.toggle("paper", yes); drawGrid(); }; // always light
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));
  boxes.forEach((box, at) => { box.tabIndex = at ? -1 : 0; });
  drawGrid();
  showRow();
}

document.querySelectorAll(".view").forEach(explore);
