"use strict";
const heads = JSON.parse(document.getElementById("routing").textContent);
const select = document.getElementById("head");
const tokens = document.querySelector(".tokens");
const size = Number(tokens.dataset.chunkSize);

function show(index) {
  const head = heads[index];
  select.value = index;
  Array.from(tokens.children).forEach((box, chunk) => {
    const weight = head.weight[chunk] / 100;
    const probability = (head.probability[chunk] / 100).toFixed(2);
    const softmax = weight >= 0.5;
    const first = chunk * size;
    const last = first + box.querySelector(".text").childElementCount - 1;
    box.classList.toggle("softmax", softmax);
    box.classList.toggle("linear", !softmax);
    box.querySelector(".head span").textContent = (softmax ? "S " : "L ") + probability;
    box.title = `chunk ${chunk}, tokens ${first} to ${last}: ${softmax ? "softmax" : "linear"}, ` +
      `probability of softmax ${probability}, weight used ${weight}` + (box.classList.contains("planted") ? ", planted" : "");
  });
  document.querySelectorAll("button[data-row]").forEach(
    (button) => button.setAttribute("aria-pressed", button.dataset.row === String(index)));
}

select.addEventListener("change", () => show(select.value));
document.querySelectorAll("button[data-row]").forEach((button) => button.addEventListener("click", () => {
  show(button.dataset.row);
  document.getElementById("tokens").scrollIntoView();
}));
show(select.value);
