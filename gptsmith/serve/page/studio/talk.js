/** Talk is a page of its own. */
export async function show() {
  location.replace("./talk");
}
