/** The chat page: what a person does, and what comes of it. */

import { copyText } from "./clipboard.js";
import { download, el, fill, icon, iconButton } from "./element.js";
import { fromJson, toJson, toMarkdown } from "./files.js";
import { showPanel } from "./panel.js";
import { askFor, closeBeside, lasting, openMenu, passing, speak } from "./popup.js";
import { Reply } from "./reply.js";
import { isThere, keyOfTab, listModels, ServerError, setKeyOfTab } from "./server.js";
import { showFoot, showHead, showList } from "./sidebar.js";
import { openStore } from "./store.js";
import { Thread, used } from "./thread.js";
import { addNode, newConversation, path, select, step, titleOf } from "./tree.js";
import { nature, welcome } from "./welcome.js";

const SAVE_EVERY_MS = 1500;
const LOOK_EVERY_MS = 3000;
const UNSAVED = "unsaved-";
const NEAR_PX = 80;
const NARROW = matchMedia("(max-width: 60rem)");
const MAX_SPOKEN = 2000;

const place = (id) => document.getElementById(id);
const remember = (name, value) => localStorage.setItem(`gptsmith-${name}`, value);
const remembered = (name) => localStorage.getItem(`gptsmith-${name}`) ?? "";

class App {
  constructor(store) {
    Object.assign(this, { store, models: [], replies: new Map(), saving: new Map(), words: "" });
    this.thread = new Thread(place("thread"), {
      step: (node, by) => this.step(node, by),
      copy: (node) => copyText(node.text).then(() => passing("Copied."), (error) => passing(error.message)),
      edit: (node, text) => this.edit(node, text),
      again: (node) => this.write(node.parent),
      goOn: (node) => this.run(node),
      choose: (node, piece, one, isEnd) => this.choose(node, piece, one, isEnd),
      create: () => this.create(),
      key: async (node) => { if (await this.askKey()) this.run(node); },
    });
    this.thread.isShaded = remembered("shaded") === "yes";
    this.isFollowing = true;
  }

  /** Gets the models and shows the conversation that was shown last. */
  async start() {
    document.documentElement.dataset.theme = remembered("theme");
    this.showFrame();
    this.store.onChange((id) => this.changedElsewhere(id));
    if (!this.store.isLasting) lasting("This browser keeps nothing here, as in a private window: export what you want to keep.");
    if (!await this.getModels()) return;
    await this.takeUnsaved();
    const wanted = location.hash.slice(1);
    const known = wanted ? await this.store.get(wanted) : null;
    if (known) this.show(known);
    else this.create();
    await this.list();
    place("words").focus();
  }

  async getModels() {
    for (;;) {
      try {
        this.models = await listModels();
        return true;
      } catch (error) {
        if (!(error instanceof ServerError)) throw error;
        if (error.kind === "key") {
          if (await this.askKey()) continue;
          fill(place("thread"), el("div.notice", {}, el("p", {}, error.message),
            el("button.primary", { type: "button", onclick: () => this.start() }, "Enter the key")));
          return false;
        }
        await this.whenThere(error.message);
      }
    }
  }

  // What is on the page

  showFrame() {
    showHead(place("sidebar-head"), {
      create: () => this.create(),
      search: (words) => { this.words = words.trim(); this.list(); },
      close: () => this.openSidebar(false),
    });
    showFoot(place("sidebar-foot"), { import: (text) => this.import(text), export: () => this.exportAll() });
    this.showComposer();
    place("veil").addEventListener("click", () => { this.openSidebar(false); this.openPanel(false); });
    place("scroller").addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = place("scroller");
      this.isFollowing = scrollHeight - scrollTop - clientHeight < NEAR_PX;
      place("newest").hidden = this.isFollowing;
    }, { passive: true });
    addEventListener("keydown", (event) => this.key(event));
    addEventListener("hashchange", async () => {
      const id = location.hash.slice(1);
      if (id && id !== this.conversation?.id) this.open(id);
    });
    if (remembered("panel") === "open" && !NARROW.matches) place("panel").hidden = false;
  }

  showComposer() {
    const words = el("textarea", { id: "words", rows: 1, autocomplete: "off" });
    words.addEventListener("input", () => {
      this.grow();
      sessionStorage.setItem(`draft-${this.conversation?.id}`, words.value);
      this.showSend();
    });
    words.addEventListener("keydown", (event) => {
      const isComposing = event.isComposing || event.keyCode === 229;
      if (event.key !== "Enter" || event.shiftKey || isComposing) return;
      event.preventDefault();
      this.send();
    });
    const newest = el("button.newest", { type: "button", id: "newest", hidden: true, onclick: () => this.follow(true) }, icon("down"), "Newest");
    const send = el("button.send", { type: "button", id: "send", onclick: () => (this.reply ? this.reply.stop() : this.send()) });
    fill(place("composer"), newest, el("div.box", {}, words, send), el("p.soft", { id: "hint" }));
  }

  showBar() {
    const { conversation, model } = this;
    const isEmpty = !conversation.roots.length;
    const names = this.models.map(({ name, kind }) =>
      el("option", { value: name, selected: name === model.name, disabled: conversation.mode === "chat" && kind === "base" && !isEmpty }, name));
    const chooser = this.models.length > 1
      ? el("select", { "aria-label": "Model", id: "model", onchange: ({ target }) => this.take(target.value) }, names)
      : el("span.model", { title: nature(model) }, model.name);
    fill(place("bar"),
      !isEmpty && el("h1.unseen", {}, titleOf(conversation)),
      iconButton("menu", "Conversations", () => this.openSidebar(true), { id: "open-sidebar" }),
      chooser, el("span.space", {}), el("span", { id: "used" }),
      el("button.toggle", { type: "button", id: "shade", "aria-pressed": String(this.thread.isShaded), title: "Show how sure the model was of each token", onclick: () => this.shade() },
        icon("shades"), el("span", {}, "Probabilities")),
      iconButton("sliders", "Settings", () => this.openPanel(place("panel").hidden), { id: "open-panel", "aria-expanded": String(!place("panel").hidden) }));
    this.showUsed();
  }

  showUsed() {
    const { context_length: context } = this.model;
    const last = path(this.conversation).findLast((node) => used(node) !== undefined);
    if (!last) return fill(place("used"));
    const share = Math.min(1, used(last) / context);
    const meter = el("meter", { min: 0, max: 1, high: 0.8, value: share, "aria-label": "How much of the context is used" });
    const words = `${used(last).toLocaleString("en")} of ${context.toLocaleString("en")} tokens`;
    fill(place("used"), el("span.context", { title: `Context: ${words}` }, meter, el("span.count", {}, words)));
  }

  showSend() {
    const { conversation, reply } = this;
    const isText = conversation.mode === "text";
    const words = place("words");
    const canGoOn = words.value !== "" || (isText && conversation.roots.length > 0);
    const label = reply ? "Stop" : isText ? "Go on" : "Send";
    words.placeholder = isText ? (conversation.roots.length ? "More of the text, or nothing to let it go on" : "Begin a text") : `Ask ${this.model.name}`;
    words.setAttribute("aria-label", isText ? "Text" : "Message");
    const send = place("send");
    send.classList.toggle("is-stop", Boolean(reply));
    send.disabled = !reply && !canGoOn;
    send.ariaLabel = label;
    fill(send, icon(reply ? "stop" : isText ? "go" : "send"), el("span", {}, label));
    fill(place("hint"), reply ? "Esc stops it" : `Enter ${isText ? "lets it go on" : "sends"}, Shift+Enter begins a line`);
  }

  showThread() {
    const { conversation, model } = this;
    this.thread.show(conversation, model, this.reply?.node);
    if (!conversation.roots.length) fill(place("thread"), welcome(model, conversation.mode, (words) => this.send(words), (mode) => this.setMode(mode)));
    this.showBar();
    this.showSend();
    document.title = conversation.roots.length ? `${titleOf(conversation)} · gptsmith` : "gptsmith";
  }

  showPanel() {
    showPanel(place("panel"), this.model, this.conversation, {
      onChange: () => {
        remember("settings", JSON.stringify(this.conversation.settings));
        if (this.conversation.roots.length) this.saveSoon(this.conversation);
      },
      onClose: () => this.openPanel(false),
      theme: remembered("theme"),
      onTheme: (theme) => {
        remember("theme", theme);
        document.documentElement.dataset.theme = theme;
      },
    });
  }

  async list() {
    const summaries = await (this.words ? this.store.search(this.words) : this.store.list());
    const state = { shown: this.conversation?.id, isFound: Boolean(this.words), writing: this.replies };
    showList(place("sidebar-list"), summaries, state, {
      show: (id) => this.open(id),
      menu: (one, button) => openMenu(button, one.title, [
        [icon("edit"), "Rename", () => this.rename(one)],
        [icon("export"), "Export as JSON", () => this.export(one, "json")],
        [icon("export"), "Export as Markdown", () => this.export(one, "md")],
        [icon("trash"), "Delete", () => this.remove(one)],
      ]),
    });
  }

  openSidebar(isOpen) {
    document.body.classList.toggle("has-sidebar", isOpen);
    this.showVeil();
    if (isOpen) place("search").focus();
    else if (NARROW.matches) place("open-sidebar")?.focus();
  }

  openPanel(isOpen) {
    place("panel").hidden = !isOpen;
    place("open-panel")?.setAttribute("aria-expanded", String(isOpen));
    remember("panel", isOpen ? "open" : "closed");
    this.showVeil();
    if (isOpen) place("panel").querySelector("button, textarea")?.focus();
    else place("open-panel")?.focus();
  }

  showVeil() {
    const isOver = NARROW.matches && (document.body.classList.contains("has-sidebar") || !place("panel").hidden);
    place("veil").hidden = !isOver;
  }

  grow() {
    const words = place("words");
    words.style.height = "auto";
    words.style.height = `${Math.min(words.scrollHeight + 2, innerHeight * 0.4)}px`;
  }

  follow(isAsked = false) {
    if (isAsked) this.isFollowing = true;
    if (this.isFollowing) place("scroller").scrollTop = place("scroller").scrollHeight;
  }

  shade() {
    this.thread.isShaded = !this.thread.isShaded;
    remember("shaded", this.thread.isShaded ? "yes" : "no");
    closeBeside();
    this.showThread();
    place("shade").focus();
  }

  key(event) {
    if (event.key === "Escape") {
      if (this.reply) this.reply.stop();
      else if (NARROW.matches && document.body.classList.contains("has-sidebar")) this.openSidebar(false);
      else if (!place("panel").hidden && place("panel").contains(document.activeElement)) this.openPanel(false);
    } else if (event.key === "k" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.openSidebar(true);
    }
  }

  // Which conversation

  get model() {
    const { model, mode } = this.conversation;
    return this.models.find(({ name }) => name === model) ?? this.models.find(({ kind }) => kind === mode) ?? this.models[0];
  }

  /** What is being written in the conversation that is shown. */
  get reply() {
    return this.replies.get(this.conversation?.id);
  }

  show(conversation) {
    this.conversation = conversation;
    closeBeside();
    document.body.classList.remove("has-sidebar");
    this.showVeil();
    place("words").value = sessionStorage.getItem(`draft-${conversation.id}`) ?? "";
    this.isFollowing = true;
    this.showThread();
    this.showPanel();
    this.grow();
    this.follow();
  }

  create() {
    const model = this.models.find(({ name }) => name === (this.conversation?.model ?? remembered("model"))) ?? this.models[0];
    const settings = JSON.parse(remembered("settings") || "{}");
    history.replaceState(null, "", location.pathname);
    this.show(newConversation({ model: model.name, mode: model.kind === "chat" ? "chat" : "text", system: "", settings }));
    this.list();
    place("words").focus();
  }

  async open(id) {
    const conversation = this.replies.get(id)?.conversation ?? await this.store.get(id);
    if (!conversation) return;
    history.replaceState(null, "", `#${id}`);
    this.show(conversation);
    this.list();
  }

  take(name) {
    remember("model", name);
    this.conversation.model = name;
    if (!this.conversation.roots.length) this.conversation.mode = this.model.kind === "chat" ? "chat" : "text";
    else this.saveSoon(this.conversation);
    this.showThread();
    this.showPanel();
    place("model").focus();
  }

  setMode(mode) {
    this.conversation.mode = mode;
    this.showThread();
    this.showPanel();
    place("words").focus();
  }

  async changedElsewhere(id) {
    if (id === this.conversation?.id && !this.reply) {
      const newer = await this.store.get(id);
      if (newer) this.show(newer);
      else this.create();
    }
    this.list();
  }

  async rename(one) {
    const title = await askFor("Name of the conversation", { value: one.title, button: "Rename" });
    if (!title?.trim()) return;
    const conversation = await this.known(one.id);
    conversation.title = title.trim();
    await this.save(conversation);
    if (one.id === this.conversation.id) this.showThread();
  }

  async remove(one) {
    this.replies.get(one.id)?.stop();
    const conversation = await this.known(one.id);
    await this.store.remove(one.id);
    if (one.id === this.conversation.id) this.create();
    else this.list();
    passing(`“${one.title}” is deleted.`, "Undo", async () => {
      await this.save(conversation);
      this.open(one.id);
    });
  }

  known(id) {
    return id === this.conversation.id ? this.conversation : this.replies.get(id)?.conversation ?? this.store.get(id);
  }

  async export(one, kind) {
    const conversation = await this.known(one.id);
    const name = one.title.replace(/[^\p{L}\p{N} _-]/gu, "").trim().slice(0, 60) || "conversation";
    if (kind === "json") download(`${name}.json`, toJson([conversation]), "application/json");
    else download(`${name}.md`, toMarkdown(conversation), "text/markdown");
  }

  async exportAll() {
    const summaries = await this.store.list();
    const all = (await Promise.all(summaries.map(({ id }) => this.known(id)))).filter(Boolean);
    if (!all.length) passing("There are no conversations yet.");
    else download("conversations.json", toJson(all), "application/json");
  }

  async import(text) {
    try {
      const conversations = fromJson(text);
      for (const one of conversations) await this.store.put(one);
      this.list();
      passing(conversations.length === 1 ? "One conversation came in." : `${conversations.length} conversations came in.`);
    } catch (error) {
      passing(`Nothing came in: ${error.message}`);
    }
  }

  // What is said

  async send(given = null) {
    const { conversation } = this;
    const text = given ?? place("words").value;
    const last = path(conversation).at(-1);
    if (this.reply || (text === "" && !(conversation.mode === "text" && last))) return;
    if (given === null) {
      place("words").value = "";
      sessionStorage.removeItem(`draft-${conversation.id}`);
      this.grow();
    }
    const parent = text ? addNode(conversation, last?.id ?? null, { role: "user", text }) : last;
    history.replaceState(null, "", `#${conversation.id}`);
    this.isFollowing = true;
    await this.write(parent.id);
  }

  /** A new text of the model after a message. */
  async write(parentId) {
    await this.run(addNode(this.conversation, parentId, { role: "assistant", text: "" }));
  }

  /** Lets the model write at the end of a message of its own. */
  async run(node) {
    const { conversation } = this;
    if (this.reply) return;
    let isAsked = false;
    const reply = new Reply(this.model, conversation, node, (wait) => {
      reply.wait = wait;
      this.saveSoon(conversation);
      if (isAsked) return;
      isAsked = true;
      requestAnimationFrame(() => { isAsked = false; this.grown(reply); });
    });
    this.replies.set(conversation.id, reply);
    this.showThread();
    this.follow();
    this.save(conversation);
    await reply.run();
    this.replies.delete(conversation.id);
    await this.save(conversation);
    if (this.conversation === conversation) {
      this.showThread();
      this.follow();
      if (!node.error) speak(node.text.slice(0, MAX_SPOKEN));
    }
    if (node.error?.kind === "gone") await this.whenThere(node.error.message);
  }

  grown(reply) {
    if (this.conversation !== reply.conversation || !this.replies.has(reply.conversation.id)) return;
    this.thread.update(reply.node, reply.wait);
    this.follow();
  }

  async edit(node, text) {
    if (text === node.text || this.reply) return;
    const { conversation } = this;
    const made = addNode(conversation, node.parent, { role: node.role, text });
    if (node.role === "user" && conversation.mode === "chat") await this.write(made.id);
    else {
      this.showThread();
      this.thread.focus(made.id, "Edit");
      await this.save(conversation);
    }
  }

  step(node, by) {
    const other = step(this.conversation, node.id, by);
    if (!other) return;
    this.showThread();
    const arrow = by < 0 ? "Version before" : "Next version";
    this.thread.focus(other.id, arrow);
    if (document.activeElement === document.body) this.thread.focus(other.id, by < 0 ? "Next version" : "Version before");
    this.save(this.conversation);
  }

  /** Another version that has one token's alternative in its place, and goes on from there. */
  async choose(node, piece, one, isEnd) {
    const { conversation } = this;
    const kept = node.tokens.slice(0, piece.first);
    const { alternatives } = node.tokens[piece.first];
    const made = addNode(conversation, node.parent, {
      role: node.role,
      text: node.text.slice(0, piece.start) + (isEnd ? "" : one.text),
      tokens: isEnd ? kept : [...kept, { ...one, alternatives }],
      figures: { start: node.figures?.start ?? 0, model: node.figures?.model },
    });
    select(conversation, made.id);
    if (!isEnd) return this.run(made);
    made.finish = "stop";
    this.showThread();
    await this.save(conversation);
  }

  // What is kept

  saveSoon(conversation) {
    conversation.updated = Date.now();
    if (this.saving.has(conversation.id)) return;
    const timer = setTimeout(() => this.save(conversation), SAVE_EVERY_MS);
    this.saving.set(conversation.id, { conversation, timer });
  }

  /** Keeps what was to be kept soon where a page that is left can still write: the store may be too slow for that. */
  saveAll() {
    for (const { conversation } of this.saving.values()) remember(UNSAVED + conversation.id, JSON.stringify(conversation));
  }

  /** Takes into the store what pages that were left had not brought there. */
  async takeUnsaved() {
    for (const name of Object.keys(localStorage).filter((key) => key.startsWith(`gptsmith-${UNSAVED}`))) {
      await this.store.put(JSON.parse(localStorage.getItem(name)));
      localStorage.removeItem(name);
    }
  }

  async save(conversation) {
    clearTimeout(this.saving.get(conversation.id)?.timer);
    this.saving.delete(conversation.id);
    try {
      await this.store.put(conversation);
      localStorage.removeItem(`gptsmith-${UNSAVED}${conversation.id}`);
    } catch (error) {
      passing(error.message);
    }
    await this.list();
  }

  // The server

  async askKey() {
    const key = await askFor("The server's key", { kind: "password", button: "Use it", value: keyOfTab(), hint: "Whoever started the server has it. It is kept until this tab is closed." });
    if (key === null) return false;
    setKeyOfTab(key.trim());
    return true;
  }

  /** Shows that the server is gone until it is there again. */
  async whenThere(words) {
    if (this.isLooking) return;
    this.isLooking = true;
    const away = lasting(icon("alert"), el("p", {}, words), el("p.soft", {}, "This goes away by itself once it is back."));
    do await new Promise((resolve) => { setTimeout(resolve, LOOK_EVERY_MS); });
    while (!await isThere());
    away();
    this.isLooking = false;
    speak("The server is back.");
  }
}

const app = new App(await openStore());
addEventListener("pagehide", () => app.saveAll());
document.addEventListener("visibilitychange", () => { if (document.hidden) app.saveAll(); });
await app.start();
