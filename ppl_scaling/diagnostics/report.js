"use strict";
// Every text of a model goes into the page through textContent, never as markup.
for (const box of document.querySelectorAll(".genealogy")) {
  const data = JSON.parse(box.querySelector("script").textContent);
  const svg = box.querySelector("svg"), panel = box.querySelector(".panel"), status = box.querySelector("[role=status]");
  const shapes = [...svg.querySelectorAll(".node")], ring = svg.querySelector(".ring"), lineage = svg.querySelector(".lineage");
  const nodes = data.nodes.map(([step, particle, parent, weight, score, descendants, answer, text], place) => (
    { step, particle, parent, weight, score, descendants, answer, text: data.texts[text], children: [], x: data.places[place][0], y: data.places[place][1] }));
  nodes.forEach((node, place) => { if (node.parent >= 0) nodes[node.parent].children.push(place); });
  const columns = [];
  nodes.forEach((node, place) => (columns[node.step - 1] ||= []).push(place));
  let chosen = -1, held = false;

  const pathTo = (place) => { const found = []; for (; place >= 0; place = nodes[place].parent) found.unshift(place); return found; };
  const heaviest = (places) => places.reduce((best, place) =>
    best < 0 || nodes[place].descendants > nodes[best].descendants
    || (nodes[place].descendants === nodes[best].descendants && nodes[place].weight > nodes[best].weight) ? place : best, -1);

  function describe(node) {
    const parts = [`particle ${node.particle}`];
    if (node.weight !== null) parts.push(`weight ${node.weight.toPrecision(3)}`);
    if (node.score !== null) parts.push(`score ${node.score.toFixed(3)}`);
    if (!node.descendants) parts.push("dropped later");
    else parts.push(`${node.descendants} of the last particles descend from it`, node.answer === null ? "no answer" : `leads to ${node.answer}`);
    return parts.join(" · ");
  }

  function show(place) {
    if (place < 0 || place === chosen) return;
    if (chosen >= 0) shapes[chosen].setAttribute("tabindex", "-1");
    chosen = place;
    const node = nodes[place], path = pathTo(place);
    shapes[place].setAttribute("tabindex", "0");
    ring.setAttribute("cx", node.x); ring.setAttribute("cy", node.y);
    const line = [...path];
    for (let next = heaviest(node.children); next >= 0; next = heaviest(nodes[next].children)) line.push(next);
    lineage.setAttribute("d", line.map((one, i) => `${i ? "L" : "M"}${nodes[one].x} ${nodes[one].y}`).join(""));
    const title = document.createElement("h3"), facts = document.createElement("p"), list = document.createElement("ol");
    title.textContent = `${data.along === "step" ? "Step" : "Rung"} ${node.step}`;
    facts.textContent = describe(node); facts.className = "note";
    for (const one of path) {
      if (!nodes[one].text && one !== place) continue;
      const item = document.createElement("li");
      item.value = nodes[one].step;
      item.textContent = nodes[one].text || (node.descendants ? "(white space, or no text of its own)" : "(the result does not keep what it wrote)");
      if (one === place) item.className = "here";
      list.append(item);
    }
    panel.replaceChildren(title, facts, list);
    const here = list.querySelector(".here");
    if (here) panel.scrollTop = Math.max(0, here.offsetTop - panel.offsetTop - panel.clientHeight / 2);
    const label = `${title.textContent}: ${node.text || "no text"}. ${describe(node)}`;
    shapes[place].setAttribute("role", "img"); shapes[place].setAttribute("aria-label", label);
    status.textContent = label;
  }

  function hold(value) { held = value; panel.classList.toggle("held", held); }

  function nearest(event) {
    const frame = svg.getBoundingClientRect(), x = event.clientX - frame.left, y = event.clientY - frame.top;
    let best = -1, least = Infinity;
    nodes.forEach((node, place) => { const away = Math.hypot((node.x - x) * 0.6, node.y - y); if (away < least) { least = away; best = place; } });
    return least < 40 ? best : -1;
  }

  svg.addEventListener("pointermove", (event) => { if (!held) show(nearest(event)); });
  svg.addEventListener("click", (event) => {
    const place = nearest(event);
    if (place < 0) return;
    hold(!(held && place === chosen)); show(place); shapes[place].focus({ preventScroll: true });
  });
  svg.addEventListener("focusin", (event) => { const place = shapes.indexOf(event.target); if (place >= 0) show(place); });
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hold(false);
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); return hold(!held); }
    const node = nodes[chosen], column = node ? columns[node.step - 1] : [], place = column.indexOf(chosen);
    const steps = columns.filter(Boolean);
    const next = node === undefined ? undefined : {
      ArrowLeft: node.parent, ArrowRight: heaviest(node.children), ArrowUp: column[place - 1], ArrowDown: column[place + 1],
      Home: steps[0][0], End: steps[steps.length - 1][0],
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    if (next >= 0) { show(next); shapes[next].focus({ preventScroll: false }); }
  });

  shapes.forEach((shape) => shape.setAttribute("tabindex", "-1"));
  if (columns.length) {
    let start = heaviest(columns.filter(Boolean)[0]);
    for (let next = start; next >= 0; next = heaviest(nodes[next].children)) start = next;
    show(start);
  }
}
