console.log('doors');
