/** The chat page: what a person does, and what comes of it. */

import "./input_method.js"; // first: before other modules listen to keys

import { copyText } from "./clipboard.js";
import { download, el, fill, icon, iconButton, setText } from "./element.js";
import { extra } from "./extra.js";
import { fromJson, toJson, toMarkdown } from "./files.js";
import { misfit } from "./fit.js";
import { Library } from "./library.js";
import { forget, keep, kept, keptValue } from "./memory.js";
import { showPanel } from "./panel.js";
import { askFor, closeBeside, lasting as notice, openMenu, passing, speak } from "./popup.js";
import { Reply } from "./reply.js";
import { checkedSettings, lasting } from "./sampling.js";
import { isThere, keyOfTab, listModels, ServerError, setKeyOfTab } from "./server.js";
import { showFoot, showHead, showList } from "./sidebar.js";
import { openStore } from "./store.js";
import { Thread } from "./thread.js";
import { addNode, branchWith, newConversation, path, step, titleOf } from "./tree.js";
import { nature, welcome } from "./welcome.js";
import { WhyPanel } from "./why.js";
import { without } from "./why_question.js";
import { chooseLanguage, language, t } from "./words.js";

const LOOK_EVERY_MS = 3000;
const NEAR_PX = 80;
const FIT_AFTER_MS = 300;
const NARROW = matchMedia("(max-width: 60rem)");
const COARSE = matchMedia("(pointer: coarse)");
const MAX_SPOKEN = 2000;

const place = (id) => document.getElementById(id);

/** Why nothing is written yet. */
function waitWords({ busySeconds, isLoading, model, node }) {
  if (busySeconds) return t("chat.busy", { seconds: busySeconds });
  return isLoading && !node.text ? t("chat.loading", { name: model.name }) : "";
}

class App {
  constructor(store) {
    Object.assign(this, { store, models: [], replies: new Map(), words: "", isFollowing: true });
    this.library = new Library(store, {
      change: (id) => this.changedElsewhere(id),
      kept: () => this.list(),
      problem: (error) => passing(error.message),
    });
    this.thread = new Thread(place("thread"), {
      step: (node, by) => this.step(node, by),
      copy: (node) => copyText(node.text).then(() => passing(t("chat.copied")), (error) => passing(error.message)),
      fits: (node, text) => this.fits(node, text),
      edit: (node, text) => this.edit(node, text),
      again: (node) => this.write(node.parent),
      goOn: (node) => this.run(node),
      choose: (node, piece, one, isEnd) => this.choose(node, piece, one, isEnd),
      why: (node, piece) => this.explain(node, piece),
      create: () => this.create(),
      more: (node) => extra.more(this, node),
      key: async (node) => { if (await this.askKey()) this.run(node); },
    });
    this.thread.isShaded = kept("localStorage", "shaded") === "yes";
    this.why = new WhyPanel(place("why"), {
      close: () => this.closeWhy(),
      choose: (node, piece, one, isEnd) => this.choose(node, piece, one, isEnd),
      remove: (node, words) => this.writeWithout(node, words),
      rewritten: (node, text, note) => this.rewritten(node, text, note),
    });
  }

  /** Shows the page, and once the models are known the conversation that was shown last. */
  async start() {
    this.showFrame();
    if (!this.store.isLasting) notice(el("p", {}, t("chat.not_stored")));
    await this.library.takeUnsaved();
    await this.list();
    await this.begin();
  }

  async begin() {
    if (!await this.getModels()) return;
    await this.arrive();
    place("words").focus();
  }

  /** Gets the models, however long the server is away; false where it wants a key that nobody gives, or none writes. */
  async getModels() {
    for (;;) {
      try {
        this.models = await listModels();
        if (this.models.length) return true;
        fill(place("thread"), el("div.notice", {}, el("p", {}, t("chat.no_writer"))));
        return false;
      } catch (error) {
        if (!(error instanceof ServerError)) throw error;
        if (error.kind !== "key") await this.whenThere(error.message);
        else if (!await this.askKey()) {
          fill(place("thread"), el("div.notice", {}, el("p", {}, error.message),
            el("button.primary", { type: "button", onclick: () => this.begin() }, t("chat.enter_key"))));
          return false;
        }
      }
    }
  }

  // What is on the page

  showFrame() {
    document.documentElement.lang = language();
    setText(place("skip"), t("chat.to_message"));
    place("sidebar").ariaLabel = t("chat.conversations");
    place("panel").ariaLabel = t("chat.settings");
    place("why").ariaLabel = t("chat.why_panel");
    showHead(place("sidebar-head"), {
      create: () => this.create(),
      search: (words) => { this.words = words.trim(); this.list(); },
      close: () => this.openSidebar(false),
    });
    showFoot(place("sidebar-foot"), { import: (text) => this.import(text), export: () => this.exportAll() });
    this.showComposer();
    place("skip").addEventListener("click", (event) => { event.preventDefault(); place("words").focus(); });
    place("veil").addEventListener("click", () => { this.openSidebar(false); this.openPanel(false); this.closeWhy(); });
    place("scroller").addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = place("scroller");
      this.isFollowing = scrollHeight - scrollTop - clientHeight < NEAR_PX;
      place("newest").hidden = this.isFollowing;
    }, { passive: true });
    NARROW.addEventListener("change", () => this.showVeil());
    addEventListener("keydown", (event) => this.key(event));
    addEventListener("popstate", () => this.arrive());
    addEventListener("pagehide", () => this.library.leave());
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.library.leave(); });
    if (kept("localStorage", "panel") === "open" && !NARROW.matches) place("panel").hidden = false;
  }

  showComposer() {
    const words = el("textarea", { id: "words", dir: "auto", rows: 1, autocomplete: "off", "aria-label": t("chat.message"), value: kept("sessionStorage", "draft-new") ?? "" });
    words.addEventListener("input", () => {
      this.grow();
      keep("sessionStorage", this.draft, words.value);
      this.misfit = "";
      this.showSend();
      clearTimeout(this.fitting);
      this.fitting = setTimeout(() => this.checkFit(), FIT_AFTER_MS);
    });
    words.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || COARSE.matches) return;
      event.preventDefault();
      this.send();
    });
    const newest = el("button.newest", { type: "button", id: "newest", hidden: true, onclick: () => this.follow(true) }, icon("down"), t("chat.newest"));
    const send = el("button.send", {
      type: "button", id: "send", disabled: true, "aria-label": t("chat.send"),
      // The second click of two is not meant for the button that the first has made of it.
      onclick: ({ detail }) => { if (!this.reply) this.send(); else if (detail < 2) this.reply.stop(); },
    }, icon("send"), el("span", {}, t("chat.send")));
    fill(place("composer"), newest, el("div.box", {}, words, send), el("p.soft", { id: "hint" }));
  }

  showBar() {
    const { conversation, model } = this;
    const isEmpty = !conversation.roots.length;
    const names = this.models.map(({ name, kind, state }) =>
      el("option", { value: name, selected: name === model.name, disabled: conversation.mode === "chat" && kind === "base" && !isEmpty }, ["loading", "failed"].includes(state) ? `${name} (${t(`chat.state_${state}`)})` : name));
    const chooser = this.models.length > 1
      ? el("select", { "aria-label": t("chat.model"), id: "model", onchange: ({ target }) => this.take(target.value) }, names)
      : el("span.model", { title: nature(model) }, model.name);
    fill(place("bar"),
      !isEmpty && el("h1.unseen", {}, titleOf(conversation)),
      iconButton("menu", t("chat.conversations"), () => this.openSidebar(true), { id: "open-sidebar" }),
      chooser, extra.bar(this), el("span.space", {}), el("span", { id: "used" }),
      el("button.toggle", { type: "button", id: "shade", "aria-pressed": String(this.thread.isShaded), title: t("chat.show_probabilities"), onclick: () => this.shade() },
        icon("shades"), el("span", {}, t("chat.probabilities"))),
      iconButton("sliders", t("chat.settings"), () => this.openPanel(place("panel").hidden), { id: "open-panel", "aria-expanded": String(!place("panel").hidden) }));
    this.showUsed();
    this.showChanged();
  }

  showUsed() {
    const { context_length: context } = this.model;
    const used = path(this.conversation).findLast(({ figures }) => figures?.used !== undefined)?.figures.used;
    if (used === undefined) return fill(place("used"));
    const meter = el("meter", { min: 0, max: 1, high: 0.8, value: Math.min(1, used / context), "aria-label": t("chat.context_used") });
    const words = t("chat.tokens_of", { used, context });
    fill(place("used"), el("span.context", { title: t("chat.context_is", { words }) }, meter, el("span.count", {}, words)));
  }

  /** Marks the button of the settings where one of them is not as usual. */
  showChanged() {
    const { settings, system } = this.conversation;
    const isChanged = Object.keys(settings).length > 0 || system !== "";
    const button = place("open-panel");
    button.classList.toggle("is-changed", isChanged);
    button.title = t(isChanged ? "chat.settings_changed" : "chat.settings");
  }

  showSend() {
    if (!this.conversation) return;
    const { conversation, reply, model } = this;
    const isText = conversation.mode === "text";
    const words = place("words");
    const isMute = !isText && model.kind === "base";
    const label = t(reply ? "chat.stop" : isText ? "chat.continue" : "chat.send");
    words.placeholder = isText ? t(conversation.roots.length ? "chat.add_text" : "chat.begin_text") : t("chat.ask", { name: model.name });
    words.ariaLabel = t(isText ? "chat.text" : "chat.message");
    const send = place("send");
    send.classList.toggle("is-stop", Boolean(reply));
    const waiting = extra.waitsFor(conversation);
    send.disabled = !reply && (isMute || Boolean(this.misfit || waiting) || (!isText && !words.value.trim()));
    send.ariaLabel = label;
    fill(send, icon(reply ? "stop" : isText ? "go" : "send"), el("span", {}, label));
    fill(place("hint"), waiting && !reply ? waiting : this.hint(isText, isMute));
  }

  hint(isText, isMute) {
    const { conversation, model, reply } = this;
    if (this.misfit) return el("span.wrong", { role: "alert" }, this.misfit);
    if (isMute) return t("chat.mute");
    if (conversation.roots.length && conversation.model !== model.name) return t("chat.no_longer", { before: conversation.model, name: model.name });
    if (COARSE.matches) return "";
    return t(reply ? "chat.esc_stops" : isText ? "chat.enter_continues" : "chat.enter_sends");
  }

  showThread() {
    const { conversation, model } = this;
    this.thread.show(conversation, model, this.reply?.node);
    if (!conversation.roots.length) fill(place("thread"), welcome(model, conversation.mode, (words) => this.send(words), (mode) => this.setMode(mode)));
    this.showAround();
    extra.shown(this);
  }

  /** Shows what depends on whether something is being written. */
  showAround() {
    this.showBar();
    this.showSend();
    document.title = this.conversation.roots.length ? `${titleOf(this.conversation)} · gptsmith` : "gptsmith";
  }

  showPanel() {
    const { conversation } = this;
    showPanel(place("panel"), this.model, conversation, kept("localStorage", "theme") ?? "", {
      change: () => {
        keep("localStorage", "settings", JSON.stringify(lasting(conversation.settings)));
        if (conversation.roots.length) this.library.keepSoon(conversation);
        else this.keepEmpty(conversation);
        if (conversation === this.conversation) this.showChanged();
      },
      close: () => this.openPanel(false),
      language: extra.hasLanguage ? null : (code) => {
        chooseLanguage(code);
        location.reload();
      },
      theme: (theme) => {
        keep("localStorage", "theme", theme);
        document.documentElement.dataset.theme = theme;
      },
    });
  }

  async list() {
    const number = this.numLists = (this.numLists ?? 0) + 1;
    const summaries = await (this.words ? this.store.search(this.words) : this.store.list());
    if (number !== this.numLists) return;
    const state = { shown: this.conversation?.id, isFound: Boolean(this.words), writing: this.replies };
    showList(place("sidebar-list"), summaries, state, {
      show: (id) => this.visit(id),
      menu: (one, button) => openMenu(button, one.title, [
        [icon("edit"), t("chat.rename"), () => this.rename(one)],
        [icon("export"), t("chat.export_json"), () => this.export(one, "json")],
        [icon("export"), t("chat.export_markdown"), () => this.export(one, "md")],
        [icon("trash"), t("chat.delete"), () => this.remove(one)],
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
    if (isOpen) this.closeWhy();
    place("panel").hidden = !isOpen;
    place("open-panel")?.setAttribute("aria-expanded", String(isOpen));
    keep("localStorage", "panel", isOpen ? "open" : "closed");
    this.showVeil();
    if (isOpen) place("panel").querySelector("button, textarea")?.focus();
    else place("open-panel")?.focus();
  }

  /** Where the window is narrow, what is open lies over the rest, which cannot be reached then. */
  showVeil() {
    const hasSidebar = document.body.classList.contains("has-sidebar");
    const hasPanel = !place("panel").hidden || this.why.isOpen;
    place("veil").hidden = !(NARROW.matches && (hasSidebar || hasPanel));
    place("main").inert = !place("veil").hidden;
    place("sidebar").inert = NARROW.matches && !hasSidebar;
  }

  grow() {
    const words = place("words");
    words.style.height = "auto";
    words.style.height = `${Math.min(words.scrollHeight + 2, innerHeight * 0.4)}px`;
  }

  follow(isAsked = false) {
    if (isAsked) this.isFollowing = true;
    if (this.isFollowing) place("scroller").scrollTop = place("scroller").scrollHeight;
    place("newest").hidden = this.isFollowing;
  }

  shade() {
    this.thread.isShaded = !this.thread.isShaded;
    keep("localStorage", "shaded", this.thread.isShaded ? "yes" : "no");
    closeBeside();
    this.showThread();
    place("shade").focus();
  }

  key(event) {
    const isAside = event.target.closest?.("dialog, input[type=search]");
    if (event.key === "k" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.openSidebar(true);
    } else if (event.key === "Escape" && !isAside) {
      if (NARROW.matches && document.body.classList.contains("has-sidebar")) this.openSidebar(false);
      else if (place("panel").contains(event.target) || (NARROW.matches && !place("panel").hidden)) this.openPanel(false);
      else if (place("why").contains(event.target) || (NARROW.matches && this.why.isOpen)) this.closeWhy();
      else this.reply?.stop();
    } else if (event.key === "Escape" && NARROW.matches && !event.target.value) this.openSidebar(false);
  }

  // Which conversation

  /** The conversation's model; where it is not served, one that does the same. */
  get model() {
    const { model, mode } = this.conversation;
    return this.models.find(({ name }) => name === model) ?? this.models.find(({ kind }) => kind === (mode === "chat" ? "chat" : "base")) ?? this.models[0];
  }

  /** What is being written in the conversation that is shown. */
  get reply() {
    return this.replies.get(this.conversation?.id);
  }

  /** The name of what is typed and not sent. */
  get draft() {
    return `draft-${this.conversation?.roots.length ? this.conversation.id : "new"}`;
  }

  show(conversation) {
    if (conversation !== this.conversation) this.closeWhy();
    this.conversation = conversation;
    closeBeside();
    document.body.classList.remove("has-sidebar");
    this.showVeil();
    place("words").value = kept("sessionStorage", this.draft) ?? "";
    this.misfit = "";
    this.isFollowing = true;
    this.showThread();
    this.showPanel();
    this.grow();
    if (conversation.roots.length) this.follow();
    else place("scroller").scrollTop = 0;
    if (!COARSE.matches) place("words").focus();
    this.list();
  }

  /** An empty conversation; one that was begun and not used comes back. */
  create(wantedName = undefined) {
    if (!this.models.length) return;
    const left = keptValue("sessionStorage", "new") ?? {};
    const named = [wantedName, left.model, this.conversation?.model, extra.firstModel(), kept("localStorage", "model")].map((wanted) => this.models.find(({ name }) => name === wanted));
    const model = named.find(Boolean) ?? this.models[0];
    const mode = model.kind === "chat" && (wantedName || left.mode !== "text") ? "chat" : "text";
    const settings = checkedSettings(left.settings ?? keptValue("localStorage", "settings"));
    if (location.hash) history.pushState(null, "", location.pathname);
    this.show(newConversation({ model: model.name, mode, system: String(left.system ?? ""), settings }));
  }

  keepEmpty({ model, mode, system, settings }) {
    keep("sessionStorage", "new", JSON.stringify({ model, mode, system, settings }));
  }

  /** Shows a conversation as a new place in the browser's history. */
  async visit(id) {
    if (location.hash.slice(1) !== id) history.pushState(null, "", `#${id}`);
    await this.open(id);
  }

  /** Shows the conversation of the address. */
  async arrive() {
    const id = location.hash.slice(1);
    if (id === (this.conversation?.roots.length ? this.conversation.id : undefined)) return;
    const isThere = id !== "" && (await this.open(id));
    if (!isThere) this.create();
    if (id && !isThere) passing(t("chat.not_in_browser"));
  }

  /** Shows a conversation, unless another one is asked for meanwhile; false where there is none of that id. */
  async open(id) {
    this.wanted = id;
    const conversation = await this.library.get(id);
    if (!conversation || !this.models.length) return false;
    if (this.wanted === id) this.show(conversation);
    return true;
  }

  take(name) {
    const { conversation } = this;
    keep("localStorage", "model", name);
    conversation.model = name;
    if (conversation.roots.length) this.library.keepSoon(conversation);
    else {
      conversation.mode = this.model.kind === "chat" ? "chat" : "text";
      this.keepEmpty(conversation);
    }
    this.showThread();
    this.showPanel();
    this.checkFit();
    place("model").focus();
    if (conversation.roots.length && conversation.mode === "text" && this.model.kind === "chat") {
      passing(t("chat.only_continues", { name }), t("chat.new"), () => this.create(name));
    }
  }

  setMode(mode) {
    this.conversation.mode = mode;
    this.keepEmpty(this.conversation);
    this.showThread();
    this.showPanel();
    place("words").focus();
  }

  async changedElsewhere(id) {
    this.list();
    if (id !== this.conversation?.id) return;
    if (!await this.library.get(id)) {
      this.reply?.stop();
      this.create();
      passing(t("chat.deleted_elsewhere"));
    } else if (!this.reply) {
      this.showThread();
      if (!place("panel").contains(document.activeElement)) this.showPanel();
      this.follow();
    }
  }

  async rename(one) {
    const title = (await askFor(t("chat.name"), { value: one.title, button: t("chat.rename"), cancel: t("chat.cancel") }))?.trim();
    const conversation = title && (await this.library.get(one.id));
    if (!conversation) return;
    conversation.title = title;
    conversation.updated = Date.now();
    await this.library.keep(conversation);
    if (conversation === this.conversation) this.showAround();
  }

  async remove(one) {
    const conversation = await this.library.get(one.id);
    if (!conversation) return;
    this.replies.get(one.id)?.stop();
    await this.library.remove(one.id);
    if (conversation === this.conversation) this.create();
    passing(t("chat.deleted", { title: one.title }), t("chat.undo"), async () => {
      await this.library.restore(conversation);
      this.visit(one.id);
    });
  }

  async export(one, kind) {
    const conversation = await this.library.get(one.id);
    if (!conversation) return;
    const name = one.title.replace(/[^\p{L}\p{N} _-]/gu, "").trim().slice(0, 60) || "conversation";
    if (kind === "json") download(`${name}.json`, toJson([conversation]), "application/json");
    else download(`${name}.md`, toMarkdown(conversation), "text/markdown");
  }

  async exportAll() {
    const summaries = await this.store.list();
    const all = (await Promise.all(summaries.map(({ id }) => this.library.get(id)))).filter(Boolean);
    if (!all.length) passing(t("chat.none_yet"));
    else download("conversations.json", toJson(all), "application/json");
  }

  async import(text) {
    try {
      const conversations = fromJson(text);
      for (const one of conversations) await this.store.put(one);
      await this.list();
      if (conversations.length === 1) this.visit(conversations[0].id);
      passing(t("chat.imported", { count: conversations.length }));
    } catch (error) {
      passing(t("chat.import_failed", { problem: error.message }));
    }
  }

  // What is said

  async send(given = null) {
    const { conversation } = this;
    if (!conversation || this.reply || (given === null && place("send").disabled)) return;
    const text = (given ?? place("words").value).toWellFormed();
    if (given === null && !(await this.checkFit())) return;
    if (this.reply || this.conversation !== conversation) return;
    const last = path(conversation).at(-1);
    if (given === null) {
      place("words").value = "";
      forget("sessionStorage", this.draft);
      this.grow();
    }
    forget("sessionStorage", "new");
    if (location.hash.slice(1) !== conversation.id) history.pushState(null, "", `#${conversation.id}`);
    const parent = text ? addNode(conversation, last?.id ?? null, { role: "user", text }) : last;
    this.isFollowing = true;
    await this.write(parent?.id ?? null);
  }

  /** A new text of the model after a message. */
  async write(parentId) {
    if (this.reply || await extra.write(this, parentId)) return;
    await this.run(addNode(this.conversation, parentId, { role: "assistant", text: "" }));
  }

  /** Lets the model write at the end of a message of its own. */
  async run(node) {
    const { conversation } = this;
    if (this.reply) return;
    closeBeside();
    if (NARROW.matches) this.closeWhy();
    let isAsked = false;
    const reply = new Reply(this.model, conversation, node, (seconds) => {
      reply.busySeconds = seconds;
      this.library.keepSoon(conversation);
      if (isAsked) return;
      isAsked = true;
      requestAnimationFrame(() => { isAsked = false; this.grown(reply); });
    });
    this.replies.set(conversation.id, reply);
    const { isLoading } = reply;
    const written = reply.run();
    this.showThread();
    if (isLoading) this.thread.update(node, waitWords(reply));
    this.follow();
    this.library.keep(conversation);
    await written;
    this.replies.delete(conversation.id);
    await this.library.keep(conversation);
    if (isLoading) await this.lookAgain();
    if (this.conversation === conversation) {
      this.thread.setWriting(undefined);
      this.showAround();
      this.follow();
      if (!node.error) speak(node.text.slice(0, MAX_SPOKEN));
    }
    if (node.error?.kind === "gone") this.comeBack();
  }

  grown(reply) {
    if (this.conversation !== reply.conversation || this.reply !== reply) return;
    this.thread.update(reply.node, waitWords(reply));
    this.follow();
  }

  /** Whether what is typed fits into the context of the model; if not, it is said, and nothing can be sent. */
  async checkFit() {
    const { conversation } = this;
    if (!conversation) return false;
    const words = place("words").value;
    const found = await misfit(this.model, conversation, words.toWellFormed());
    if (this.conversation !== conversation || place("words").value !== words) return false;
    this.misfit = found;
    this.showSend();
    return !found;
  }

  /** Whether a message that is edited can be sent. */
  async fits(node, text) {
    const found = node.role === "user" ? await misfit(this.model, this.conversation, text) : "";
    if (found) passing(found);
    return !found;
  }

  async edit(node, text) {
    const { conversation } = this;
    const isAsked = node.role === "user" && conversation.mode === "chat";
    if (text === node.text || this.reply || (isAsked && !text.trim())) return;
    const made = addNode(conversation, node.parent, { role: node.role, text });
    if (isAsked) await this.write(made.id);
    else {
      if (node.role === "assistant") extra.edited(this, node, made);
      this.showThread();
      this.thread.focus(made.id, "edit");
      await this.library.keep(conversation);
    }
  }

  step(node, by) {
    const other = step(this.conversation, node.id, by);
    if (!other) return;
    this.showThread();
    const [arrow, back] = by < 0 ? ["left", "right"] : ["right", "left"];
    this.thread.focus(other.id, arrow);
    if (document.activeElement === document.body) this.thread.focus(other.id, back);
    this.library.keep(this.conversation);
  }

  /** Another version that has one token's alternative in its place, and goes on from there. */
  async choose(node, piece, one, isEnd) {
    const { conversation } = this;
    if (this.reply) return;
    const tokens = node.tokens.slice(0, piece.first);
    const { alternatives } = node.tokens[piece.first];
    const made = addNode(conversation, node.parent, {
      role: node.role,
      text: node.text.slice(0, piece.start) + (isEnd ? "" : one.text),
      tokens: isEnd ? tokens : [...tokens, { ...one, alternatives }],
      figures: { start: node.figures?.start ?? 0, model: node.figures?.model },
    });
    if (!isEnd) return this.run(made);
    made.finish = "stop";
    this.showThread();
    await this.library.keep(conversation);
  }

  // Why it wrote a word

  /** Opens the explanation of a word, with the probabilities of all to choose another one. */
  explain(node, piece, { model, conversation, thread } = this) {
    if (!this.thread.isShaded) this.shade();
    if (!place("panel").hidden) this.openPanel(false);
    this.why.open(model, conversation, node, piece);
    thread.mark(node, piece);
    this.showVeil();
    place("why").querySelector("button").focus();
  }

  /** Closes it, and gives up what is computed for it. */
  closeWhy() {
    if (!this.why.isOpen) return;
    const hasFocus = place("why").contains(document.activeElement);
    this.why.close();
    const word = place("thread").querySelector(".token.is-explained");
    this.thread.mark();
    this.showVeil();
    if (hasFocus) (word ?? place("words")).focus();
  }

  /** Another version of the conversation without some words that came before an answer, and what is answered then. */
  async writeWithout(node, { id, start, stop }) {
    const { conversation } = this;
    if (this.reply) return;
    const { text } = conversation.nodes[id];
    const rest = without(text, start, stop);
    if (conversation.mode === "chat" && !rest.trim()) return passing(t("chat.nothing_left"));
    await this.write(branchWith(conversation, id, rest, node.id).id);
  }

  /** Another version of an answer that was written with a part of the network switched off. */
  async rewritten(node, text, note) {
    const { conversation } = this;
    if (this.reply) return;
    if (NARROW.matches) this.closeWhy();
    addNode(conversation, node.parent, { role: node.role, text, note, finish: "stop", figures: { model: node.figures?.model } });
    this.showThread();
    await this.library.keep(conversation);
  }

  // The server

  async askKey() {
    const key = await askFor(t("chat.key"), { kind: "password", button: t("chat.use_it"), cancel: t("chat.cancel"), value: keyOfTab(), hint: t("chat.key_hint") });
    if (key === null) return false;
    setKeyOfTab(key.trim());
    return true;
  }

  /** Waits until a server that is gone is back. */
  async whenThere(words) {
    const away = notice(icon("alert"), el("p", {}, words), el("p.soft", {}, t("chat.until_back")));
    await this.untilThere();
    away();
  }

  async untilThere() {
    do await new Promise((resolve) => { setTimeout(resolve, LOOK_EVERY_MS); });
    while (!await isThere());
  }

  /** Looks at the models that there are now, and at their states. */
  async lookAgain() {
    const models = await listModels().catch(() => []);
    if (models.length) this.models = models;
  }

  /** Looks for a server that is gone, and for the models that it has when it is back. */
  async comeBack() {
    if (this.isLooking) return;
    this.isLooking = true;
    await this.untilThere();
    this.isLooking = false;
    if (!await this.getModels()) return;
    this.showAround();
    passing(t("chat.back"));
  }
}

document.documentElement.dataset.theme = kept("localStorage", "theme") ?? "";
const app = new App(await openStore());
await app.start();
