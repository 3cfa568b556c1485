const run = { color: 0, ...pageData() };
const section = (name) => document.getElementById(name);
if (run.search) showSearch(section("search"), run.search);
showTrials(section("trials"), run.trials);
if (Object.keys(run.curves).length) new Curves(section("curves"), false).show([run]);
else section("curves").hidden = true;
showPlan(section("plan"), [run]);
showSamples(section("samples"), [run], false);
showEvents(section("events"), [run], false);
