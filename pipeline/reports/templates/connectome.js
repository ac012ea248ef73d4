// Draws a rotating brain with surface points, regions and edges on a canvas, without a library.
(() => {
  const source = document.getElementById("connectome-data");
  const part = document.getElementById("connectome-live");
  if (!source || !part) return;
  const data = JSON.parse(source.textContent);
  const canvas = part.querySelector("canvas");
  const pick = part.querySelector("select");
  const words = part.querySelector("[data-words]");
  const named = part.querySelector("[data-named]");
  const pen = canvas.getContext("2d");
  if (!pen) return;
  const start = { turn: -0.6, tilt: 0.35, zoom: 1 };
  const view = { ...start };
  const reach = 98; // mm from the centre of the brain to the border of the canvas
  const middle = [0, -18, 8];
  let chosen = data.sets[0];
  let places = [];

  data.sets.forEach((set, k) => pick.add(new Option(set.title, String(k))));
  part.hidden = false;

  const colour = (name) => getComputedStyle(part).getPropertyValue(name).trim();
  const limit = (value, low, high) => Math.min(high, Math.max(low, value));

  function project(point, size) {
    const [x, y, z] = point.map((v, k) => v - middle[k]);
    const across = x * Math.cos(view.turn) + y * Math.sin(view.turn);
    const away = -x * Math.sin(view.turn) + y * Math.cos(view.turn);
    const up = z * Math.cos(view.tilt) + away * Math.sin(view.tilt);
    const depth = away * Math.cos(view.tilt) - z * Math.sin(view.tilt);
    const scale = (view.zoom * size.shorter) / (2 * reach);
    return [size.wide / 2 + across * scale, size.tall / 2 - up * scale, depth];
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const wide = canvas.clientWidth;
    const tall = Math.min(460, Math.max(260, wide * 0.62));
    canvas.style.height = `${tall}px`;
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(tall * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const size = { wide, tall, shorter: Math.min(wide, tall) };
    const rise = colour("--treated"), fall = colour("--control");
    const soft = colour("--soft"), ink = colour("--ink");

    pen.fillStyle = soft;
    for (const point of data.outline) {
      const [x, y, depth] = project(point, size);
      pen.globalAlpha = depth > 0 ? 0.35 : 0.7;
      pen.fillRect(x - 0.8, y - 0.8, 1.6, 1.6);
    }
    places = data.nodes.map((node) => (node ? [...project(node.slice(0, 3), size), node[3]] : null));
    const used = new Set();
    const largest = Math.max(...chosen.edges.map((edge) => Math.abs(edge[2])), 1e-9);
    const far = (edge) => places[edge[0]][2] + places[edge[1]][2];
    for (const edge of [...chosen.edges].sort((a, b) => far(b) - far(a))) {
      const [a, b, value] = edge;
      used.add(a).add(b);
      pen.globalAlpha = 0.35 + 0.55 * (Math.abs(value) / largest);
      pen.strokeStyle = value > 0 ? rise : fall;
      pen.setLineDash(value > 0 ? [] : [4, 3]);
      pen.lineWidth = 0.6 + 1.8 * (Math.abs(value) / largest);
      pen.beginPath();
      pen.moveTo(places[a][0], places[a][1]);
      pen.lineTo(places[b][0], places[b][1]);
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
    pen.fillStyle = ink;
    places.forEach((place, k) => {
      if (!place || !used.has(k)) return;
      pen.beginPath();
      pen.arc(place[0], place[1], 2.6, 0, 2 * Math.PI);
      pen.fill();
    });
    places = places.map((place, k) => (used.has(k) ? place : null));
    pen.font = "13px system-ui, sans-serif";
    for (const [point, letter] of [[[-84, -18, 8], "L"], [[84, -18, 8], "R"], [[0, 84, 8], "front"]]) {
      const [x, y] = project(point, size);
      pen.fillText(letter, limit(x - 4, 2, wide - 34), limit(y + 4, 12, tall - 4));
    }
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  function move(turn, tilt, zoom) {
    view.turn += turn;
    view.tilt = limit(view.tilt + tilt, -Math.PI / 2, Math.PI / 2);
    view.zoom = limit(view.zoom * zoom, 0.6, 5);
    redraw();
  }

  const views = {
    above: [0, Math.PI / 2], front: [Math.PI, 0], left: [-Math.PI / 2, 0], right: [Math.PI / 2, 0],
  };
  const does = {
    in: () => move(0, 0, 1.25), out: () => move(0, 0, 0.8),
    reset: () => { Object.assign(view, start); redraw(); },
  };
  part.querySelectorAll("button").forEach((button) => {
    const name = button.value;
    button.addEventListener("click", () => {
      if (does[name]) does[name]();
      else { [view.turn, view.tilt] = views[name]; redraw(); }
    });
  });
  const keys = {
    ArrowLeft: [0.15, 0, 1], ArrowRight: [-0.15, 0, 1], ArrowUp: [0, -0.15, 1],
    ArrowDown: [0, 0.15, 1], "+": [0, 0, 1.25], "=": [0, 0, 1.25], "-": [0, 0, 0.8],
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.key in keys) { event.preventDefault(); move(...keys[event.key]); }
    if (event.key === "0") does.reset();
  });
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) move(-event.movementX * 0.01, event.movementY * 0.01, 1);
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = 12, label = "";
    for (const place of places) {
      const away = place ? Math.hypot(place[0] - x, place[1] - y) : Infinity;
      if (away < best) { best = away; label = place[3]; }
    }
    if (named.textContent !== label) named.textContent = label;
  });
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return; // otherwise the page scrolls
    event.preventDefault();
    move(0, 0, event.deltaY < 0 ? 1.1 : 0.91);
  }, { passive: false });
  pick.addEventListener("change", () => {
    chosen = data.sets[Number(pick.value)];
    words.textContent = chosen.words;
    redraw();
  });
  words.textContent = chosen.words;
  new ResizeObserver(redraw).observe(part);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  draw();
})();
