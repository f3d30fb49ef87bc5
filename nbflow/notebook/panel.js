// The live panel of a run. It takes the place of the run's static report wherever that is
// shown on the page, and gives the place back when it is gone.
//
// Python sends one whole picture at first and small changes after it; everything that a
// click shows has been sent before, so that no click needs the kernel. All HTML comes
// escaped from Python; names and values that are put in here are only ever text.

const LOOK = `
:host { all: initial; display: block; color: inherit; }
.panel { color: var(--jp-content-font-color1, #222); font: 13px/1.45 var(--jp-content-font-family, sans-serif); }
.head { display: flex; gap: 10px; align-items: center; flex-wrap: wrap; margin: 2px 0 4px; }
.head b { font-size: 14px; }
.chip { border: 1px solid; border-radius: 9px; padding: 0 7px; white-space: nowrap; }
.muted { opacity: .7; }
.lost { border-left: 3px solid #c98a00; padding-left: 10px; margin: 4px 0; }
.lost[hidden] { display: none; }
.deaf .frame { opacity: .75; }
.deaf .node.running > * { animation: none !important; }
.outlook:not(:empty) { border-left: 3px solid #c98a00; padding-left: 10px; margin: 4px 0; }
.bar { height: 3px; background: rgba(128,128,128,.25); border-radius: 2px; overflow: hidden; margin: 2px 0 4px; }
.bar i { display: block; height: 100%; width: 0; background: #0072b2; transition: width .2s linear; }
button { font: inherit; color: inherit; background: none; border: 1px solid rgba(128,128,128,.5);
  border-radius: 4px; padding: 1px 8px; cursor: pointer; }
button:hover { background: rgba(128,128,128,.15); }
button:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
.node:focus { outline: none; }
.node:focus-visible { outline: 2px solid #0072b2; outline-offset: 3px; }
.problems:not(:empty) { margin: 4px 0; display: flex; flex-direction: column; gap: 3px; align-items: flex-start; }
.problems button { border-color: #d55e00; text-align: left; max-width: 100%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.frame { position: relative; border: 1px solid rgba(128,128,128,.25); border-radius: 6px; }
.view { overflow: auto; max-height: 560px; padding: 4px; cursor: grab; }
.view.dragged { cursor: grabbing; }
.tools { margin-left: auto; display: flex; gap: 4px; opacity: .5; }
.panel:hover .tools, .tools:focus-within { opacity: 1; }
.tools button { min-width: 24px; padding: 0 6px; }
svg { display: block; }
.node, .edge.full { cursor: pointer; }
.node.chosen > path, .node.chosen > polygon, .node.chosen > ellipse { stroke-width: 3; }
.edge text, .cluster text { fill: var(--jp-content-font-color2, #757f8e); }
.node.running > path, .node.running > polygon { animation: breathe 1.6s ease-in-out infinite; }
@keyframes breathe { 50% { stroke-width: 2.6; } }
@media (prefers-reduced-motion: reduce) { .node.running > * { animation: none !important; } .bar i { transition: none; } }
.sheet { margin-top: 6px; border: 1px solid rgba(128,128,128,.25); border-radius: 6px; padding: 8px 12px; overflow: auto; max-height: 420px; position: relative; }
.sheet[hidden] { display: none; }
.sheet h4 { margin: 0 36px 4px 0; font-size: 14px; overflow-wrap: anywhere; max-height: 6em; overflow: hidden; }
.sheet .close { position: absolute; right: 8px; top: 8px; }
.sheet table { border-collapse: collapse; font-size: 12px; }
.sheet th, .sheet td { padding: 2px 8px; border-bottom: 1px solid rgba(128,128,128,.2); }
.sheet pre, .sheet code { font-family: var(--jp-code-font-family, monospace); font-size: 12px; }
.sheet .members { display: flex; flex-wrap: wrap; gap: 4px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
`;

const MOST_MEMBERS = 400;
const STOPPED = ["restarting", "autorestarting", "terminating", "dead"];
// So long the kernel may take to hear that the run is to be cancelled, in milliseconds.
const PATIENCE = 3000;
// To this share of its size a picture shrinks by itself; more would be illegible, and it scrolls.
const LEAST = 0.75;

function make(name, className, text) {
  const found = document.createElement(name);
  if (className) found.className = className;
  if (text !== undefined) found.textContent = text;
  return found;
}

function seconds(value) {
  if (value < 10) return value.toFixed(1) + " s";
  if (value < 60) return Math.floor(value) + " s";
  const minutes = Math.floor(value / 60), rest = Math.floor(value % 60);
  if (minutes < 60) return `${minutes} min ${rest} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// What has names of the user's for its keys: none of them may be taken for a part of an object.
function bare(known) {
  return Object.assign(Object.create(null), known);
}

function isBare(value) {
  return value && typeof value === "object" && !Array.isArray(value);
}

// What is known of the run in this page, shared by all places that show it.
class Story {
  constructor(whole) {
    this.whole = bare(whole);
    for (const [key, value] of Object.entries(whole)) {
      if (isBare(value)) this.whole[key] = bare(value);
    }
    this.at = performance.now();
    this.heard(this.whole.faces);
    this.places = new Set();
    this.ended = false;
  }

  // Times that run on begin where a message has left them.
  heard(faces) {
    for (const face of Object.values(faces ?? {})) face.heardAt = this.at;
  }

  take(delta) {
    this.at = performance.now();
    for (const [key, value] of Object.entries(delta)) {
      if (isBare(value)) {
        Object.assign(this.whole[key] ??= bare(), value);
      } else {
        this.whole[key] = value;
      }
    }
    this.heard(delta.faces);
    for (const place of this.places) place.show(delta);
  }

  stops() {
    this.stopping = true;
    for (const place of this.places) place.stop.textContent = "stopping; what runs ends first";
  }

  // The kernel that told it is no more: what the run is now, nobody here knows.
  lose() {
    if (this.lost || this.whole.head.final) return;
    this.lost = performance.now();
    for (const place of this.places) place.show(this.whole);
  }

  elapsed() {
    const head = this.whole.head;
    return head.elapsed + (head.final ? 0 : ((this.lost ?? performance.now()) - this.at) / 1000);
  }
}

// One place on the page that shows a run.
class Place {
  constructor(story, host, say) {
    this.story = story;
    this.say = say;
    this.chosen = null;
    this.nodes = new Map();
    this.edges = new Map();
    this.scale = 1;
    this.style = make("style");
    this.style.textContent = LOOK;
    this.panel = make("div", "panel");
    this.panel.setAttribute("role", "group");
    this.panel.setAttribute("aria-label", `run of ${story.whole.name}`);
    this.build();
    // What is typed here is not meant for the notebook, but for saving and the like.
    this.panel.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
    });
    this.panel.addEventListener("focusin", (event) => (this.focused = event.target));
    this.panel.addEventListener("focusout", () => {
      if (this.host.isConnected) this.focused = null;
    });
    this.move(host);
    this.show(story.whole);
    this.clock = setInterval(() => this.tick(), 250);
  }

  // Where the report is written anew, the panel moves there as it is.
  move(host) {
    const { scrollLeft, scrollTop } = this.scrolled ?? {};
    this.host = host;
    const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
    root.replaceChildren(this.style, this.panel);
    this.view.scrollTo(scrollLeft ?? 0, scrollTop ?? 0);
    this.focused?.focus({ preventScroll: true });
  }

  gone() {
    this.sizes?.disconnect();
    clearInterval(this.clock);
    this.story.places.delete(this);
    // The report goes on to be written, and is seen again.
    if (!this.story.lost && !this.story.whole.head.final) this.host.shadowRoot.replaceChildren(make("slot"));
  }

  build() {
    const { whole } = this.story;
    this.chip = make("span", "chip");
    this.line = make("span", "muted");
    this.stop = make("button", "stop", "■ Stop");
    this.stop.title = "Cancel the run";
    this.stop.onclick = () => this.cancel();
    const head = make("div", "head");
    head.append(this.chip, make("b", "", whole.name), this.line, this.stop);
    this.outlook = make("div", "outlook");
    this.lost = make("div", "lost");
    this.lost.hidden = true;
    const bar = make("div", "bar");
    this.done = make("i");
    bar.append(this.done);
    this.problems = make("div", "problems");
    this.frame = make("div", "frame");
    this.view = make("div", "view");
    this.view.onscroll = () => {
      if (this.host.isConnected) this.scrolled = { scrollLeft: this.view.scrollLeft, scrollTop: this.view.scrollTop };
    };
    this.frame.append(this.view);
    if (whole.svg) head.append(this.tools());
    this.sheet = make("div", "sheet");
    this.sheet.hidden = true;
    this.sheet.setAttribute("aria-live", "polite");
    this.told = make("div", "unseen");
    this.told.setAttribute("role", "status");
    this.panel.append(head, bar, this.lost, this.outlook, this.problems, this.frame, this.sheet, this.told);
    this.draw();
    this.drag();
  }

  tools() {
    const tools = make("div", "tools");
    for (const [sign, title, act] of [
      ["−", "Smaller", () => this.chosenZoom(this.scale / 1.25)],
      ["+", "Larger", () => this.chosenZoom(this.scale * 1.25)],
      ["⤢", "Fit", () => this.fit()],
    ]) {
      const button = make("button", "", sign);
      button.title = title;
      button.setAttribute("aria-label", title);
      button.onclick = act;
      tools.append(button);
    }
    return tools;
  }

  draw() {
    const { whole } = this.story;
    if (!whole.svg) {
      this.frame.hidden = true;
      return;
    }
    this.view.innerHTML = whole.svg;
    this.svg = this.view.querySelector("svg");
    this.width = parseFloat(this.svg.getAttribute("width")) * 96 / 72;
    this.svg.removeAttribute("height");
    this.zoom(1);
    // As long as nobody has chosen another size. What scrolls inside does not change this width.
    this.sizes = new ResizeObserver(() => this.isOwnSize || this.adapt());
    this.sizes.observe(this.panel);
    this.svg.setAttribute("role", "group");
    this.svg.setAttribute("aria-label", "steps");
    for (const group of this.svg.querySelectorAll("g.node")) {
      const title = group.querySelector("title");
      const key = title.textContent;
      title.remove();
      if (key in whole.members) this.makeNode(key, group);
    }
    for (const group of this.svg.querySelectorAll("g.edge")) {
      const title = group.querySelector("title");
      this.makeEdge(title.textContent, group);
      title.remove();
    }
  }

  makeNode(key, group) {
    const texts = [...group.querySelectorAll("text")];
    const said = texts.at(-1);
    said.textContent = "";
    group.setAttribute("tabindex", "0");
    group.setAttribute("role", "button");
    group.setAttribute("data-lm-suppress-shortcuts", "true");
    group.onclick = () => this.choose({ key });
    group.onkeydown = (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.choose({ key });
      } else if (event.key === "Escape") {
        this.close();
      } else if (event.key.startsWith("Arrow")) {
        event.preventDefault();
        const back = event.key === "ArrowLeft" || event.key === "ArrowUp";
        const all = [...this.nodes.values()];
        const here = all.findIndex((each) => each.group === group);
        all.at((here + (back ? -1 : 1) + all.length) % all.length).group.focus();
      }
    };
    // Of several outlines only the innermost has an area.
    const shapes = [...group.querySelectorAll("path, polygon, ellipse")].map((shape) => ({
      shape,
      hollow: shape.getAttribute("fill") === "none",
    }));
    this.nodes.set(key, { group, title: texts[0], said, texts, shapes });
  }

  makeEdge(key, group) {
    const texts = [...group.querySelectorAll("text")];
    const isSized = texts.length === 2 && /0/.test(texts[0].textContent);
    if (!isSized) return;
    for (const text of texts) text.textContent = "";
    this.edges.set(key, { group, texts });
    group.onclick = () => {
      const [tail, head] = key.split("->");
      this.choose({ key: tail, head });
    };
  }

  zoom(scale) {
    this.scale = Math.min(4, Math.max(0.1, scale));
    this.svg?.setAttribute("width", Math.round(this.width * this.scale));
  }

  chosenZoom(scale) {
    this.isOwnSize = true;
    this.zoom(scale);
  }

  fit() {
    this.chosenZoom(Math.min(1.5, (this.view.clientWidth - 12) / this.width));
  }

  adapt() {
    const room = this.panel.clientWidth - 28;
    if (room > 0) this.zoom(Math.min(1, Math.max(LEAST, room / this.width)));
  }

  drag() {
    let from = null;
    this.view.addEventListener("pointerdown", (event) => {
      if (event.target.closest(".node, .edge.full")) return;
      from = [event.clientX + this.view.scrollLeft, event.clientY + this.view.scrollTop];
      this.view.setPointerCapture(event.pointerId);
      this.view.classList.add("dragged");
    });
    this.view.addEventListener("pointermove", (event) => {
      if (from) this.view.scrollTo(from[0] - event.clientX, from[1] - event.clientY);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      this.view.addEventListener(name, () => {
        from = null;
        this.view.classList.remove("dragged");
      });
    }
    this.view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.chosenZoom(this.scale * (event.deltaY < 0 ? 1.1 : 1 / 1.1));
    }, { passive: false });
  }

  // What has changed

  show(delta) {
    for (const [key, face] of Object.entries(delta.faces ?? {})) this.showFace(key, face);
    for (const [key, flow] of Object.entries(delta.flows ?? {})) this.showFlow(key, flow);
    if (delta.head) this.showHead();
    if (delta.problems) this.showProblems();
    if (this.chosen && (delta.steps || delta.sheets)) this.refresh(delta);
  }

  showFace(key, face) {
    const node = this.nodes.get(key);
    if (!node) return;
    const [title, said, status, bold, label] = face;
    const look = this.story.whole.looks[status];
    node.title.textContent = title;
    node.said.textContent = said;
    node.face = face;
    node.group.setAttribute("aria-label", label);
    node.group.setAttribute("class", `node ${status === "running" || status === "retrying" ? "running" : ""}${this.chosen?.key === key ? " chosen" : ""}`);
    node.group.dataset.status = status;
    if (!look) return;
    const [fill, border, ink, dashed] = look;
    for (const { shape, hollow } of node.shapes) {
      if (!hollow) shape.setAttribute("fill", fill);
      shape.setAttribute("stroke", border);
      shape.setAttribute("stroke-width", bold ? "2.6" : "1.1");
      dashed ? shape.setAttribute("stroke-dasharray", "5,2") : shape.removeAttribute("stroke-dasharray");
    }
    for (const text of node.texts) text.setAttribute("fill", ink);
    this.showSince(node);
  }

  // Only what runs says for how long, and the browser counts on.
  showSince(node) {
    if (this.story.lost) return;
    const since = node.face?.[5];
    if (since === null || since === undefined) return;
    const now = since + (performance.now() - node.face.heardAt) / 1000;
    node.said.textContent = `${node.face[1]} · ${seconds(now)}`;
  }

  showFlow(key, flow) {
    const edge = this.edges.get(key);
    if (!edge) return;
    edge.group.classList.add("full");
    edge.texts[0].textContent = flow[0];
    edge.texts[1].textContent = flow[1];
    edge.texts[1].setAttribute("font-weight", "bold");
  }

  showHead() {
    const { head, looks, signs } = this.story.whole;
    const [fill, border, ink] = looks[head.status];
    Object.assign(this.chip.style, { background: fill, borderColor: border, color: ink });
    this.chip.textContent = `${signs[head.status]} ${head.status}`;
    this.panel.dataset.status = head.status;
    if (this.story.lost) return this.showLost();
    this.outlook.innerHTML = head.outlook;
    this.stop.hidden = head.final;
    this.done.style.width = `${(100 * head.ended) / Math.max(1, head.total)}%`;
    this.done.style.background = border;
    if (this.said !== head.status) {
      this.said = head.status;
      this.told.textContent = `${this.story.whole.name} is ${head.status}`;
    }
    this.showLine();
  }

  showLost() {
    const { id, looks, signs, head, name } = this.story.whole;
    const [fill, border, ink] = looks.interrupted;
    Object.assign(this.chip.style, { background: fill, borderColor: border, color: ink });
    this.chip.textContent = `${signs.interrupted} kernel stopped`;
    this.panel.dataset.status = "lost";
    this.panel.classList.add("deaf");
    this.stop.hidden = true;
    this.lost.hidden = false;
    this.lost.textContent =
      `The kernel has stopped, and nothing more is heard of this run here; it was ${head.status} at that moment. ` +
      `nbflow.load(${JSON.stringify(id)}) says what became of it, and its .resume() goes on with it.`;
    this.told.textContent = `the kernel of ${name} has stopped`;
    this.showLine();
  }

  showLine() {
    const { head, signs } = this.story.whole;
    const elapsed = this.story.elapsed();
    const parts = [`${head.ended} of ${head.total} steps`, seconds(elapsed)];
    if (!head.final && head.expected && !this.story.lost) {
      const left = head.expected - elapsed;
      parts.push(left > 0 ? `about ${seconds(left)} left` : `${seconds(head.expected)} last time`);
    }
    if (head.workers && !this.story.lost) parts.push(head.workers);
    if (head.tally.length > 1) parts.push(...head.tally.map(([status, n]) => `${signs[status]} ${n} ${status}`));
    this.line.textContent = parts.join(" · ");
  }

  showProblems() {
    const { problems, signs } = this.story.whole;
    this.problems.replaceChildren(...problems.map(([name, status, said]) => {
      const button = make("button", "", `${signs[status]} ${name}: ${said}`);
      button.onclick = () => this.choose({ name });
      return button;
    }));
  }

  tick() {
    if (this.story.whole.head.final || this.story.lost) return;
    this.showLine();
    for (const node of this.nodes.values()) this.showSince(node);
  }

  // What was chosen

  choose(chosen) {
    this.chosen = chosen;
    const { members } = this.story.whole;
    if (chosen.name === undefined && members[chosen.key].length === 1) {
      chosen.name = members[chosen.key][0];
    }
    if (chosen.key === undefined) {
      chosen.key = Object.keys(members).find((key) => members[key].includes(chosen.name));
    }
    for (const [key, node] of this.nodes) node.group.classList.toggle("chosen", key === chosen.key);
    this.bring(this.nodes.get(chosen.key)?.group);
    this.showSheet();
    this.sheet.scrollTop = 0;
  }

  // What was chosen elsewhere, such as a failure, may be out of view.
  bring(group) {
    if (!group) return;
    const room = this.view.getBoundingClientRect(), box = group.getBoundingClientRect();
    const past = (low, high, least, most) => (low < least ? low - least - 12 : Math.max(0, high - most + 24));
    this.view.scrollBy(past(box.left, box.right, room.left, room.right), past(box.top, box.bottom, room.top, room.bottom));
  }

  close() {
    this.chosen = null;
    this.sheet.hidden = true;
    for (const node of this.nodes.values()) node.group.classList.remove("chosen");
  }

  refresh(delta) {
    const name = this.chosen.name;
    const isTold = [delta.steps, delta.sheets].some((each) => each && Object.hasOwn(each, name));
    if (name === undefined || isTold) this.showSheet();
  }

  showSheet() {
    const { name, key, head } = this.chosen;
    const { steps, sheets, members, signs } = this.story.whole;
    const close = make("button", "close", "×");
    close.setAttribute("aria-label", "Close");
    close.onclick = () => this.close();
    const body = make("div");
    if (name === undefined) {
      body.append(make("h4", "", `${members[key].length} steps`));
      const list = make("div", "members");
      for (const each of members[key].slice(0, MOST_MEMBERS)) {
        const status = steps[each]?.[0] ?? "pending";
        const button = make("button", "", `${signs[status]} ${each}`);
        button.onclick = () => this.choose({ key, name: each });
        list.append(button);
      }
      body.append(list);
    } else {
      const to = head ? ` → ${members[head]?.[0] ?? ""}` : "";
      body.append(make("h4", "", name + to));
      const sheet = make("div");
      if (sheets[name] !== undefined) {
        sheet.innerHTML = sheets[name];
      } else {
        sheet.append(make("div", "muted", this.waiting(name)));
        if (this.isOver(name) && !this.story.lost) this.say({ do: "sheet", name });
      }
      body.append(sheet, this.about(name));
    }
    this.sheet.replaceChildren(close, body);
    this.sheet.hidden = false;
  }

  about(name) {
    const { about, abouts } = this.story.whole;
    const found = make("details");
    if (about[name] === undefined) return found;
    found.append(make("summary", "", "what it does"), make("div"));
    found.lastChild.innerHTML = abouts[about[name]];
    return found;
  }

  // Of very large runs not everything is sent beforehand.
  isOver(name) {
    return !["pending", "running", "retrying"].includes(this.story.whole.steps[name]?.[0]);
  }

  waiting(name) {
    const [status, said] = this.story.whole.steps[name] ?? ["pending", ""];
    const sign = this.story.whole.signs[status];
    if (this.story.lost) return `${sign} ${status}${said ? ", " + said : ""}; the kernel has stopped`;
    const later = this.isOver(name) ? "asking the kernel, which may be busy …" : "what it gives is shown here when it has ended";
    return `${sign} ${status}${said ? ", " + said : ""}; ${later}`;
  }

  cancel() {
    this.stop.disabled = true;
    this.stop.textContent = "stopping …";
    this.say({ do: "cancel" });
  }
}

// Finds the places of a run on the page, also those that come later.
function settle(story, say) {
  const selector = `[data-nbflow-run="${CSS.escape(story.whole.run)}"]`;
  const look = () => {
    const known = [...story.places];
    const homeless = known.filter((place) => !place.host.isConnected);
    for (const host of document.querySelectorAll(selector)) {
      if (known.some((place) => place.host === host)) continue;
      const place = homeless.shift();
      if (place) place.move(host);
      else story.places.add(new Place(story, host, say));
    }
    // A cell that was scrolled away, and is not drawn meanwhile, comes back later.
  };
  const watcher = new MutationObserver(look);
  watcher.observe(document.body, { childList: true, subtree: true });
  look();
  return () => {
    watcher.disconnect();
    for (const place of story.places) place.gone();
  };
}

const stories = new WeakMap();

function storyOf(model) {
  if (!stories.has(model)) stories.set(model, new Story(structuredClone(model.get("whole"))));
  return stories.get(model);
}

// A kernel that is busy answers nobody. Interrupting it ends the waiting, and then it
// hears that the run is to be cancelled.
function saying(model) {
  return (message) => {
    model.send(message);
    if (message.do !== "cancel") return;
    setTimeout(() => {
      const story = stories.get(model);
      if (!story.stopping && !story.whole.head.final) model.widget_manager?.kernel?.interrupt?.();
    }, PATIENCE);
  };
}

// Calls something when the kernel of a model has stopped, whatever page this is.
function heed(model, act) {
  model.on("comm_live_update", act);
  const statuses = model.widget_manager?.kernel?.statusChanged;
  const look = (_, status) => STOPPED.includes(status) && act();
  statuses?.connect?.(look);
  return () => statuses?.disconnect?.(look);
}

function initialize({ model }) {
  const story = storyOf(model);
  const unheed = heed(model, () => story.lose());
  model.on("msg:custom", (message) => {
    if (message.heard === "cancel") story.stops();
    if (message.delta) story.take(message.delta);
  });
  const unsettle = settle(story, saying(model));
  model.send({ do: "here" });
  return () => {
    unheed();
    unsettle();
  };
}

function render({ model, el }) {
  const story = storyOf(model);
  const place = new Place(story, el, saying(model));
  story.places.add(place);
  return () => place.gone();
}

export default { initialize, render };
