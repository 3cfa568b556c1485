/** The studio in Chinese: the same names as in words_en.js. */
export const ZH = {
  "top.skip": "跳到内容",
  "top.views": "页面",
  "top.theme": "颜色",
  "top.system": "跟随系统",
  "top.light": "浅色",
  "top.dark": "深色",
  "top.language": "语言",

  "trouble.title": "没有成功",
  "trouble.again": "重试",
  "trouble.gone": "工作室没有响应。gptsmith studio 还在运行吗?正在进行的训练会继续。",
  "trouble.key": "此浏览器尚未获准进入。请打开 gptsmith studio 显示的带令牌的地址。",
  "trouble.failed": "工作室返回了 {status}。",

  // home.js, run.js
  "home.title": "主页",

  // data.js
  "data.title": "数据",

  // train.js
  "train.title": "训练",

  // talk
  "talk.title": "对话",

  // improve.js
  "improve.title": "改进",
};
