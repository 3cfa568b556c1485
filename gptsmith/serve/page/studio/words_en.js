/** The studio in English. Each view has its own part; the same names are in words_zh.js. */
export const EN = {
  "top.skip": "To the content",
  "top.views": "Views",
  "top.theme": "Colours",
  "top.system": "As the system",
  "top.light": "Light",
  "top.dark": "Dark",
  "top.language": "Language",

  "trouble.title": "That did not work",
  "trouble.again": "Try again",
  "trouble.gone": "The studio does not answer. Is gptsmith studio still running? What was training goes on.",
  "trouble.key": "This browser has not been let in. Open the address that gptsmith studio printed, with its token.",
  "trouble.failed": "The studio answered with {status}.",

  // home.js, run.js
  "home.title": "Home",

  // data.js
  "data.title": "Data",

  // train.js
  "train.title": "Train",

  // talk
  "talk.title": "Talk",

  // improve.js
  "improve.title": "Improve",
};
